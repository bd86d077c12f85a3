-- The last of the install script: what to do next.
DO $$
BEGIN
    RAISE NOTICE 'dataprotect is installed in this database'
        USING HINT = 'SELECT * FROM dataprotect.check_setup() WHERE NOT ok says what is not ready; SELECT dataprotect.create_key(''pii'') makes a first key.';
END $$;
