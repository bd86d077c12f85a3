-- Masks: what is accepted, its one spelling, and what is left of a value.
SELECT s, dataprotect._mask_canonical(s)
FROM unnest(ARRAY['FULL', ' Partial ( 1 , ''--'' , 02 ) ', 'email', 'year', 'null', 'token',
                  'partial(0,''it''''s'',3)', 'partial(1,''\'',1)', 'partial(100,''1234567890123456'',100)']) s;
-- malformed
\set SHOW_CONTEXT never
DO $$
DECLARE
    s text;
    state text;
    problem text;
BEGIN
    FOREACH s IN ARRAY ARRAY['', 'blur', 'fullx', 'email x', 'full()', 'partial', 'partial(1,''x'')', 'partial(1,x,1)',
                             'partial(1,'''',1)', 'partial(-1,''x'',1)', 'partial(101,''x'',0)', 'partial(0,''x'',0)',
                             'partial(1,''12345678901234567'',1)', 'partial(1,''x'',1', 'partial(1,''x,1)',
                             'partial(99999999999999999999,''x'',1)'] LOOP
        BEGIN
            PERFORM dataprotect._mask_canonical(s);
            RAISE NOTICE 'accepted: %', s;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, problem = PG_EXCEPTION_DETAIL;
            RAISE INFO '%: % %', s, state, problem;
        END;
    END LOOP;
END
$$;
-- characters, not bytes; a short value shows the filler alone
\pset null NULL
SELECT v, dataprotect._mask_apply('partial(1,''--'',2)', v) AS partial, dataprotect._mask_apply('email', v) AS email,
       dataprotect._mask_apply('full', v) AS "full", dataprotect._mask_apply('year', v) AS year,
       dataprotect._mask_apply('null', v) AS "null", dataprotect._mask_apply('token', v) AS token
FROM unnest(ARRAY['Adelaide', 'äöü', 'üabcß', '日本語です', 'mary.smith@mail.example.org', 'm@x.de', 'ü.b@x.de', '@x.de', 'foo@',
                  'a@@b c', 'a@b.c/d', 'xy@localhost', '']) v;
-- no mask tells the length of a long value
SELECT count(DISTINCT dataprotect._mask_apply(m, repeat('x', n))) AS forms
FROM unnest(ARRAY['full', 'email', 'year', 'token', 'partial(2,''…'',2)']) m, generate_series(5, 50) n
GROUP BY m ORDER BY 1;
-- only administrators try masks out
SET ROLE regress_none;
SELECT dataprotect._mask_apply('full', 'x');
RESET ROLE;
