CREATE FUNCTION dataprotect._event(event text, key text, detail jsonb) RETURNS void
    LANGUAGE sql AS $$ SELECT $$;
COMMENT ON FUNCTION dataprotect._event(text, text, jsonb) IS 'replaced by the audit layer';
