-- The one way in which the functions of the extension raise an error of theirs:
-- RAISE would let them forget the condition (lint).
CREATE FUNCTION dataprotect._raise(condition text, message text, detail text DEFAULT NULL, hint text DEFAULT NULL,
                                   rel regclass DEFAULT NULL) RETURNS void
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_raise';
COMMENT ON FUNCTION dataprotect._raise(text, text, text, text, regclass) IS
    'an error of a condition that base/raise.c knows; rel: the table that it is about';
