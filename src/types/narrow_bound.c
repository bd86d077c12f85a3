/*
 * narrow_bound.c
 *	  Bounds of comparisons in a narrower type: the functions of mixed_width.sql.
 */
#include "postgres.h"

#include <math.h>

#include "access/stratnum.h"
#include "catalog/pg_type_d.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "types/typeinfo.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dp_narrow_int4_int2);
PG_FUNCTION_INFO_V1(dp_narrow_int8_int2);
PG_FUNCTION_INFO_V1(dp_narrow_int8_int4);
PG_FUNCTION_INFO_V1(dp_narrow_float8_float4);
PG_FUNCTION_INFO_V1(dp_narrow_timestamp_date);
PG_FUNCTION_INFO_V1(dp_narrow_timestamptz_date);
PG_FUNCTION_INFO_V1(dp_narrow_timestamptz_timestamp);
PG_FUNCTION_INFO_V1(dp_narrow_list);

/* ---- integers ---- */

/*
 * The greatest (1, 2) or least (4, 5) number from min to max that stands so to the
 * value, or the one that equals it (3).  False where there is none.
 */
static bool
narrow_integer(int64 value, int strategy, int64 min, int64 max, int64 *out)
{
	switch (strategy)
	{
		case BTLessStrategyNumber:
			*out = value > max ? max : value - (value > min);
			return value > min;
		case BTLessEqualStrategyNumber:
			*out = Min(value, max);
			return value >= min;
		case BTEqualStrategyNumber:
			*out = value;
			return value >= min && value <= max;
		case BTGreaterEqualStrategyNumber:
			*out = Max(value, min);
			return value <= max;
		case BTGreaterStrategyNumber:
			*out = value < min ? min : value + (value < max);
			return value < max;
		default:
			return false;
	}
}

Datum
dp_narrow_int4_int2(PG_FUNCTION_ARGS)
{
	int64		result;

	if (!narrow_integer(PG_GETARG_INT32(0), PG_GETARG_INT32(1), PG_INT16_MIN, PG_INT16_MAX, &result))
		PG_RETURN_NULL();
	PG_RETURN_INT16((int16) result);
}

Datum
dp_narrow_int8_int2(PG_FUNCTION_ARGS)
{
	int64		result;

	if (!narrow_integer(PG_GETARG_INT64(0), PG_GETARG_INT32(1), PG_INT16_MIN, PG_INT16_MAX, &result))
		PG_RETURN_NULL();
	PG_RETURN_INT16((int16) result);
}

Datum
dp_narrow_int8_int4(PG_FUNCTION_ARGS)
{
	int64		result;

	if (!narrow_integer(PG_GETARG_INT64(0), PG_GETARG_INT32(1), PG_INT32_MIN, PG_INT32_MAX, &result))
		PG_RETURN_NULL();
	PG_RETURN_INT32((int32) result);
}

/* ---- floats, among which NaN is the greatest ---- */

static bool
narrow_float(float8 value, int strategy, float4 *out)
{
	float4		nearest = (float4) value;

	*out = nearest;
	switch (strategy)
	{
		case BTLessStrategyNumber:
			if (isnan(value))
				*out = get_float4_infinity();
			else if ((float8) nearest >= value)
				*out = nextafterf(nearest, -get_float4_infinity());
			return !isinf(value) || value > 0;
		case BTLessEqualStrategyNumber:
			if (!isnan(value) && (float8) nearest > value)
				*out = nextafterf(nearest, -get_float4_infinity());
			return true;
		case BTEqualStrategyNumber:
			return isnan(value) || (float8) nearest == value;
		case BTGreaterEqualStrategyNumber:
			if (!isnan(value) && (float8) nearest < value)
				*out = nextafterf(nearest, get_float4_infinity());
			return true;
		case BTGreaterStrategyNumber:
			if (isinf(value) && value > 0)
				*out = get_float4_nan();
			else if (!isnan(value) && (float8) nearest <= value)
				*out = nextafterf(nearest, get_float4_infinity());
			return !isnan(value);
		default:
			return false;
	}
}

Datum
dp_narrow_float8_float4(PG_FUNCTION_ARGS)
{
	float4		result;

	if (!narrow_float(PG_GETARG_FLOAT8(0), PG_GETARG_INT32(1), &result))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT4(result);
}

/* ---- times ---- */

/* The day of a finite time, and whether it is the day's first moment. */
static DateADT
day_of(Timestamp value, bool *begins)
{
	Timestamp	days = value / USECS_PER_DAY;
	Timestamp	rest = value % USECS_PER_DAY;

	*begins = rest == 0;
	return (DateADT) (days - (rest < 0));
}

Datum
dp_narrow_timestamp_date(PG_FUNCTION_ARGS)
{
	Timestamp	value = PG_GETARG_TIMESTAMP(0);
	int			strategy = PG_GETARG_INT32(1);
	int64		day;
	bool		begins = true;

	if (TIMESTAMP_IS_NOBEGIN(value))
		day = DATEVAL_NOBEGIN;
	else if (TIMESTAMP_IS_NOEND(value))
		day = DATEVAL_NOEND;
	else
		day = day_of(value, &begins);
	/* between two days, it is as to the nearer one that is not beyond it */
	if (!begins)
	{
		if (strategy == BTEqualStrategyNumber)
			PG_RETURN_NULL();
		if (strategy < BTEqualStrategyNumber)
			strategy = BTLessEqualStrategyNumber;
		else
			strategy = BTGreaterStrategyNumber;
	}
	if (!narrow_integer(day, strategy, DATEVAL_NOBEGIN, DATEVAL_NOEND, &day))
		PG_RETURN_NULL();
	PG_RETURN_DATEADT((DateADT) day);
}

/* The local time, with so much to spare; false where there is none. */
static bool
local_time(TimestampTz value, int strategy, Timestamp spare, Timestamp *out)
{
	int			tz;
	struct pg_tm tm;
	fsec_t		fsec;
	Timestamp	local;

	*out = value;
	if (TIMESTAMP_NOT_FINITE(value))
		return true;
	if (timestamp2tm(value, &tz, &tm, &fsec, NULL, NULL) != 0 || tm2timestamp(&tm, fsec, NULL, &local) != 0)
		return false;
	if (strategy < BTEqualStrategyNumber)
		local += spare;
	else if (strategy > BTEqualStrategyNumber)
		local -= spare;
	*out = local;
	return IS_VALID_TIMESTAMP(local);
}

/*
 * Beyond what can be told, everything is within the bound: "<= infinity".
 */
static Timestamp
no_bound(int strategy)
{
	Timestamp	result;

	if (strategy < BTEqualStrategyNumber)
		TIMESTAMP_NOEND(result);
	else
		TIMESTAMP_NOBEGIN(result);
	return result;
}

Datum
dp_narrow_timestamptz_date(PG_FUNCTION_ARGS)
{
	int			strategy = PG_GETARG_INT32(1);
	Timestamp	local;
	bool		begins;

	if (strategy == BTEqualStrategyNumber)
		PG_RETURN_NULL();
	if (!local_time(PG_GETARG_TIMESTAMPTZ(0), strategy, USECS_PER_DAY, &local))
		local = no_bound(strategy);
	if (TIMESTAMP_IS_NOBEGIN(local))
		PG_RETURN_DATEADT(DATEVAL_NOBEGIN);
	if (TIMESTAMP_IS_NOEND(local))
		PG_RETURN_DATEADT(DATEVAL_NOEND);
	PG_RETURN_DATEADT(day_of(local, &begins));
}

Datum
dp_narrow_timestamptz_timestamp(PG_FUNCTION_ARGS)
{
	int			strategy = PG_GETARG_INT32(1);
	Timestamp	local;

	if (strategy == BTEqualStrategyNumber)
		PG_RETURN_NULL();
	if (!local_time(PG_GETARG_TIMESTAMPTZ(0), strategy, 2 * USECS_PER_DAY, &local))
		local = no_bound(strategy);
	PG_RETURN_TIMESTAMP(local);
}

/* ---- lists ---- */

static bool
narrow_element(Oid from, Oid to, Datum value, Datum *out)
{
	int64		number;
	float4		real;

	switch (from)
	{
		case FLOAT8OID:
			if (!narrow_float(DatumGetFloat8(value), BTEqualStrategyNumber, &real))
				return false;
			*out = Float4GetDatum(real);
			return true;
		case INT4OID:
		case INT8OID:
			number = from == INT8OID ? DatumGetInt64(value) : DatumGetInt32(value);
			if (!narrow_integer(number, BTEqualStrategyNumber, to == INT2OID ? PG_INT16_MIN : PG_INT32_MIN,
								to == INT2OID ? PG_INT16_MAX : PG_INT32_MAX, &number))
				return false;
			*out = to == INT2OID ? Int16GetDatum((int16) number) : Int32GetDatum((int32) number);
			return true;
		default:
			return false;
	}
}

/* NULL equals nothing. */
Datum
dp_narrow_list(PG_FUNCTION_ARGS)
{
	ArrayType  *list = PG_GETARG_ARRAYTYPE_P(0);
	Oid			from = ARR_ELEMTYPE(list);
	Oid			to = get_element_type(dp_typeinfo_signature(fcinfo->flinfo->fn_oid)->rettype);
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			kept = 0;
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(from, &len, &byval, &align);
	deconstruct_array(list, from, len, byval, align, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i] && narrow_element(from, to, values[i], &values[kept]))
			kept++;
	get_typlenbyvalalign(to, &len, &byval, &align);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, kept, to, len, byval, align));
}
