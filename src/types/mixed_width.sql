--
-- Bounds in a narrower type (src/types/mixed_width.h): the value of that type which a
-- comparison with the wider one comes to, NULL where there is none.  The strategy is
-- that of btree operators: 1 "<", 2 "<=", 3 "=", 4 ">=", 5 ">".  Lists are for "= ANY".
--
CREATE FUNCTION dataprotect._as_int2(int4, int4) RETURNS int2
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_int4_int2';
CREATE FUNCTION dataprotect._as_int2(int8, int4) RETURNS int2
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_int8_int2';
CREATE FUNCTION dataprotect._as_int4(int8, int4) RETURNS int4
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_int8_int4';
CREATE FUNCTION dataprotect._as_float4(float8, int4) RETURNS float4
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_float8_float4';
CREATE FUNCTION dataprotect._as_date(timestamp, int4) RETURNS date
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_timestamp_date';
CREATE FUNCTION dataprotect._as_date(timestamptz, int4) RETURNS date
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_timestamptz_date';
CREATE FUNCTION dataprotect._as_timestamp(timestamptz, int4) RETURNS timestamp
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_timestamptz_timestamp';
COMMENT ON FUNCTION dataprotect._as_int2(int4, int4) IS 'bound of a comparison in a narrower type';
COMMENT ON FUNCTION dataprotect._as_int2(int8, int4) IS 'bound of a comparison in a narrower type';
COMMENT ON FUNCTION dataprotect._as_int4(int8, int4) IS 'bound of a comparison in a narrower type';
COMMENT ON FUNCTION dataprotect._as_float4(float8, int4) IS 'bound of a comparison in a narrower type';
COMMENT ON FUNCTION dataprotect._as_date(timestamp, int4) IS 'bound of a comparison in a narrower type';
COMMENT ON FUNCTION dataprotect._as_date(timestamptz, int4) IS 'bound of a comparison in a narrower type, with a day to spare';
COMMENT ON FUNCTION dataprotect._as_timestamp(timestamptz, int4) IS 'bound of a comparison in a narrower type, with two days to spare';

CREATE FUNCTION dataprotect._as_int2(int4[], int4) RETURNS int2[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_list';
CREATE FUNCTION dataprotect._as_int2(int8[], int4) RETURNS int2[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_list';
CREATE FUNCTION dataprotect._as_int4(int8[], int4) RETURNS int4[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_list';
CREATE FUNCTION dataprotect._as_float4(float8[], int4) RETURNS float4[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_narrow_list';
COMMENT ON FUNCTION dataprotect._as_int2(int4[], int4) IS 'what values of a narrower type can equal of a list';
COMMENT ON FUNCTION dataprotect._as_int2(int8[], int4) IS 'what values of a narrower type can equal of a list';
COMMENT ON FUNCTION dataprotect._as_int4(int8[], int4) IS 'what values of a narrower type can equal of a list';
COMMENT ON FUNCTION dataprotect._as_float4(float8[], int4) IS 'what values of a narrower type can equal of a list';
