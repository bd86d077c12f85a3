--
-- Keys: epochs (wrapped by a KMS), named keys, their versions, subjects' keys.
-- C code reads these tables by attribute number: append columns only.
--

CREATE TABLE dataprotect.instance (
    uid uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    lockdown_since timestamptz,
    lockdown_reason text,
    single bool NOT NULL DEFAULT true UNIQUE CHECK (single),
    seal bytea,
    modifiers bytea                     -- where modifiers of encrypted types are sealed: types/modifier_seal.h
);
COMMENT ON TABLE dataprotect.instance IS 'identity of this database towards its KMS, and the lockdown switch; one row';
INSERT INTO dataprotect.instance DEFAULT VALUES;

-- A restored dump brings the identity that its keys are wrapped for.  It takes
-- the place of the one that CREATE EXTENSION made, as long as no key exists.
CREATE FUNCTION dataprotect._restore_instance() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM dataprotect.instance) THEN
        RETURN NEW;
    END IF;
    IF current_setting('dataprotect.input') <> 'ciphertext' THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            'this database has its identity already',
            NULL,
            'To restore a dump, set "dataprotect.input" to "ciphertext".');
    END IF;
    UPDATE dataprotect.instance i SET uid = NEW.uid, created_at = NEW.created_at, lockdown_since = NEW.lockdown_since,
            lockdown_reason = NEW.lockdown_reason, seal = NEW.seal, modifiers = NEW.modifiers
        WHERE i.uid = NEW.uid OR NOT EXISTS (SELECT FROM dataprotect.key_version);
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            'these keys belong to another database',
            'Keys are wrapped for one database, and this one has keys of its own already.',
            'Restore into a database that has no keys.');
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._restore_instance() IS 'row trigger: lets a restored dump replace the identity of a database without keys';

CREATE TRIGGER restore_instance BEFORE INSERT ON dataprotect.instance
    FOR EACH ROW EXECUTE FUNCTION dataprotect._restore_instance();
ALTER TABLE dataprotect.instance ENABLE ALWAYS TRIGGER restore_instance;

CREATE TABLE dataprotect.epoch (
    key_id int8 PRIMARY KEY,
    epoch int4 NOT NULL,                -- of the KMS's context; copies of a database may give the same
    kms_uri text[] NOT NULL,
    wrapped bytea[] NOT NULL,
    state "char" NOT NULL DEFAULT 'a',
    created_at timestamptz NOT NULL DEFAULT now(),
    destroyed_at timestamptz,
    seal bytea,
    successor int8,
    rolled_at timestamptz,
    reason text,
    backups bool,                       -- destroyed only after an export of the keys was drilled
    waiting_days int4,
    emptied_at timestamptz,
    drilled_at timestamptz,
    CHECK (cardinality(kms_uri) = cardinality(wrapped)),
    CHECK (state IN ('a', 'g', 'e', 'p', 'd'))
);
COMMENT ON TABLE dataprotect.epoch IS 'epoch keys: each wraps key versions and is itself wrapped under every URI of kms_uri, in that order';
COMMENT ON COLUMN dataprotect.epoch.state IS
    'active; given up: its keys are wrapped anew under the successor; emptied; pending: its roots are being destroyed; destroyed';

CREATE TABLE dataprotect.key (
    family int4 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name name NOT NULL UNIQUE,
    state "char" NOT NULL DEFAULT 'a' CHECK (state IN ('a', 's', 'd')),
    current_key_id int8 NOT NULL DEFAULT 0,
    mask text NOT NULL DEFAULT 'full',
    current_version int4 NOT NULL DEFAULT 0,
    epoch int8 NOT NULL,
    kms_uri text[] NOT NULL,
    rotation_period interval,
    keep interval,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    state_since timestamptz NOT NULL DEFAULT now(),
    reason text,
    uid uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    seal bytea
);
COMMENT ON TABLE dataprotect.key IS 'named keys: the unit of grants, masks and states';
COMMENT ON COLUMN dataprotect.key.uid IS 'identity of the key beyond this database: copies that go on separately give the same family to different keys';

CREATE TABLE dataprotect.key_version (
    key_id int8 PRIMARY KEY,
    family int4 NOT NULL,
    purpose int2 NOT NULL,
    version int4 NOT NULL,
    epoch int8 NOT NULL,
    state "char" NOT NULL DEFAULT 'a' CHECK (state IN ('a', 'r', 's', 'd', 'p')),
    wrapped bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    state_since timestamptz NOT NULL DEFAULT now(),
    reason text,
    seals int8 NOT NULL DEFAULT 0,
    seal bytea,
    expires_at timestamptz,             -- of a version of an expiring key: opens nothing from then on
    looked_at timestamptz,              -- when values under a retired version were looked for last
    unused_at timestamptz,              -- when a look had ended that found none
    CHECK ((state = 'd') = (wrapped IS NULL))
);
CREATE INDEX key_version_family_idx ON dataprotect.key_version (family, purpose, version);
COMMENT ON TABLE dataprotect.key_version IS 'every key below an epoch, wrapped: versions of named keys, subjects'' keys, the system''s own (family 0)';

CREATE TABLE dataprotect.subject_key (
    family int4 NOT NULL,
    account_type text NOT NULL,
    subject text NOT NULL,
    key_id int8 NOT NULL UNIQUE,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    version int4 NOT NULL DEFAULT 1,
    seal bytea,
    PRIMARY KEY (family, account_type, subject, version)
);
COMMENT ON TABLE dataprotect.subject_key IS 'which keys were claimed for which account under which named key: the newest seals, all open';
COMMENT ON COLUMN dataprotect.subject_key.version IS 'version of the named key when it was claimed: a newer one calls for another key of the account';

-- A claim deletes its key's row; what rolls the claim back brings it back.
CREATE TABLE dataprotect.spare_key (
    key_id int8 PRIMARY KEY,
    family int4 NOT NULL
);
COMMENT ON TABLE dataprotect.spare_key IS 'subjects'' keys that no account has claimed; destroyed once a transaction that used one was rolled back';

CREATE TABLE dataprotect.suspended_subject (
    account_type text NOT NULL,
    subject text NOT NULL,
    suspended_at timestamptz NOT NULL DEFAULT now(),
    reason text,
    seal bytea,
    PRIMARY KEY (account_type, subject)
);
COMMENT ON TABLE dataprotect.suspended_subject IS 'accounts whose keys are suspended: no key is claimed for them meanwhile';

CREATE TABLE dataprotect.tombstone (
    account_type text NOT NULL,
    subject text NOT NULL,
    destroyed_at timestamptz NOT NULL DEFAULT now(),
    reason text,
    seal bytea,
    released_at timestamptz,            -- certified: the id may begin a new life, under new keys
    PRIMARY KEY (account_type, subject)
);
COMMENT ON TABLE dataprotect.tombstone IS 'accounts whose keys were destroyed: none of that life is ever imported again, and no other minted before the deletion is certified';

-- Which epochs a named key, its versions and its accounts' keys were ever under:
-- backups of the time have them wrapped so.
CREATE TABLE dataprotect.epoch_key (
    epoch int8 NOT NULL,
    family int4 NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    seal bytea,
    PRIMARY KEY (epoch, family)
);
COMMENT ON TABLE dataprotect.epoch_key IS 'which epochs a named key was ever wrapped under';

CREATE FUNCTION dataprotect._skip_known_epoch_key() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- The rows of a dump's keys have written what comes with its own seal now.
    UPDATE dataprotect.epoch_key h SET seal = NEW.seal, since = NEW.since
        WHERE h.epoch = NEW.epoch AND h.family = NEW.family AND h.seal IS NULL AND NEW.seal IS NOT NULL;
    RETURN CASE WHEN NOT EXISTS (SELECT FROM dataprotect.epoch_key h WHERE h.epoch = NEW.epoch AND h.family = NEW.family) THEN NEW END;
END $$;
COMMENT ON FUNCTION dataprotect._skip_known_epoch_key() IS 'row trigger: what is known already, or comes with a dump as well, is written once';
CREATE TRIGGER skip_known BEFORE INSERT ON dataprotect.epoch_key
    FOR EACH ROW EXECUTE FUNCTION dataprotect._skip_known_epoch_key();
ALTER TABLE dataprotect.epoch_key ENABLE ALWAYS TRIGGER skip_known;

CREATE FUNCTION dataprotect._note_epoch_key() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO dataprotect.epoch_key (epoch, family) VALUES (NEW.epoch, NEW.family);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._note_epoch_key() IS 'row trigger: remembers every epoch that a named key was under';
CREATE TRIGGER note_epoch AFTER INSERT OR UPDATE OF epoch ON dataprotect.key
    FOR EACH ROW EXECUTE FUNCTION dataprotect._note_epoch_key();
ALTER TABLE dataprotect.key ENABLE ALWAYS TRIGGER note_epoch;

-- The roots of epochs that were given up, and what their KMSs say of them.
CREATE TABLE dataprotect.epoch_root (
    epoch int8 NOT NULL,
    ordinal int4 NOT NULL,
    uri text NOT NULL,
    root_uri text,                      -- what names the root for good, where the URI is an alias
    state text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'pending', 'cancelled', 'deleted')),
    delete_at timestamptz,
    asked_at timestamptz,
    detail text,
    seal bytea,
    PRIMARY KEY (epoch, ordinal)
);
COMMENT ON TABLE dataprotect.epoch_root IS 'roots whose destruction was asked for, and what their KMSs say of them';

CREATE TABLE dataprotect.epoch_schedule (
    deletions int4,
    every interval,
    kms_uri text[],                     -- with {epoch} in each
    backups bool NOT NULL,
    waiting_days int4 NOT NULL,
    single bool NOT NULL DEFAULT true UNIQUE CHECK (single),
    seal bytea
);
COMMENT ON TABLE dataprotect.epoch_schedule IS 'when the next epoch is opened by itself; at most one row';

-- What drills have found: the age of a drill is that of what is shown to open.
CREATE TABLE dataprotect.epoch_drill (
    epoch int8 NOT NULL,
    kms_uri text NOT NULL,
    drilled_at timestamptz NOT NULL,
    ok bool NOT NULL,
    succeeded_at timestamptz,
    PRIMARY KEY (epoch, kms_uri)
);
COMMENT ON TABLE dataprotect.epoch_drill IS 'when dataprotect.drill() last opened an epoch key from one of its URIs, or could not';

SELECT pg_catalog.pg_extension_config_dump('dataprotect.epoch_drill', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.epoch_key', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.epoch_root', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.epoch_schedule', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.instance', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.epoch', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.key', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.key_family_seq', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.key_version',
    'WHERE NOT EXISTS (SELECT FROM dataprotect.spare_key s WHERE s.key_id = key_version.key_id)');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.subject_key', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.suspended_subject', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.tombstone', '');

-- Effects of any change reach every backend after commit.
CREATE FUNCTION dataprotect._keys_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_keys_changed';
COMMENT ON FUNCTION dataprotect._keys_changed() IS 'statement trigger: makes every backend forget its keys after commit';

CREATE TRIGGER keys_changed AFTER UPDATE OR DELETE OR TRUNCATE ON dataprotect.instance
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
CREATE TRIGGER keys_changed AFTER UPDATE OR DELETE OR TRUNCATE ON dataprotect.epoch
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
CREATE TRIGGER keys_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dataprotect.key
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
CREATE TRIGGER keys_changed AFTER UPDATE OF key_id, family, purpose, version, epoch, state, wrapped, expires_at OR DELETE OR TRUNCATE
    ON dataprotect.key_version FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
CREATE TRIGGER keys_changed AFTER UPDATE OR DELETE OR TRUNCATE ON dataprotect.subject_key
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
ALTER TABLE dataprotect.instance ENABLE ALWAYS TRIGGER keys_changed;
ALTER TABLE dataprotect.epoch ENABLE ALWAYS TRIGGER keys_changed;
ALTER TABLE dataprotect.key ENABLE ALWAYS TRIGGER keys_changed;
ALTER TABLE dataprotect.key_version ENABLE ALWAYS TRIGGER keys_changed;
ALTER TABLE dataprotect.subject_key ENABLE ALWAYS TRIGGER keys_changed;
