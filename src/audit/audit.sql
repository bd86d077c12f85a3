--
-- The audit log.  audit_batch holds what the collector took from the segment
-- files, up to a thousand records a row (src/audit/packed.h), chained by mac
-- (src/audit/chain.h); nobody else writes there.  audit_record is how the records
-- of all batches are read in SQL (src/audit/record_plan.c): it has no rows of its own.
-- audit_log is what people read.  The indexes are the partitions' own
-- (src/audit/collector.c): pg_dump writes out partitions, which are no members
-- of the extension, and an index of the parent would clash with theirs when
-- such a dump is restored.
--
CREATE TABLE dataprotect.audit_batch (
	seq_from bigint NOT NULL,
	seq_to bigint NOT NULL,
	at_from timestamptz NOT NULL,
	at_to timestamptz NOT NULL,
	instance uuid NOT NULL,
	ring_to bigint NOT NULL,
	refs box,
	hints bytea NOT NULL,
	data bytea NOT NULL,
	sealed bytea,
	mac bytea NOT NULL,
	subjects bytea
) PARTITION BY RANGE (at_from);
ALTER TABLE dataprotect.audit_batch ALTER data SET STORAGE EXTERNAL, ALTER sealed SET STORAGE EXTERNAL;
COMMENT ON TABLE dataprotect.audit_batch IS 'the audit log as it is stored: batches of records, partitioned by month, chained by mac';

CREATE TABLE dataprotect.audit_record (
	seq bigint NOT NULL,
	at timestamptz NOT NULL,
	kind "char" NOT NULL,
	instance uuid NOT NULL,
	ring_seq bigint NOT NULL,
	session bigint NOT NULL,
	event int2 NOT NULL,
	outcome "char" NOT NULL,
	ref_seq bigint,
	ref_end bigint,
	session_role text,
	role text,
	columns text[],
	keys text[],
	opened bigint[],
	compared bigint[],
	sealed bytea,
	mac bytea NOT NULL
);
COMMENT ON TABLE dataprotect.audit_record IS 'raw audit records, one per intent, result, administrative act and end of a transaction, read from audit_batch; nothing is stored in it';

CREATE TABLE dataprotect.audit_head (
	id bool PRIMARY KEY DEFAULT true CHECK (id),
	seq bigint NOT NULL,
	mac bytea NOT NULL,
	sig bytea NOT NULL
);
COMMENT ON TABLE dataprotect.audit_head IS 'newest batch of the audit chain, signed with the chain key';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.audit_head', '');

CREATE TABLE dataprotect.audit_cursor (
	instance uuid PRIMARY KEY,
	ring_seq bigint NOT NULL,
	sig bytea NOT NULL
);
COMMENT ON TABLE dataprotect.audit_cursor IS 'how far the segments of each instance are in audit_batch, signed with the chain key';

CREATE TABLE dataprotect.audit_open (
	instance uuid NOT NULL,
	ring_seq bigint NOT NULL,
	session bigint NOT NULL,
	kind "char" NOT NULL,
	PRIMARY KEY (instance, ring_seq)
);
COMMENT ON TABLE dataprotect.audit_open IS 'records whose outcome is not known yet';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.audit_open', '');

CREATE TABLE dataprotect.audit_prepared (
	instance uuid NOT NULL,
	session bigint NOT NULL,
	ring_from bigint NOT NULL,
	ring_to bigint NOT NULL,
	transaction xid8 NOT NULL,
	PRIMARY KEY (instance, ring_from, session)
);
COMMENT ON TABLE dataprotect.audit_prepared IS 'records of prepared transactions that have not ended yet';

CREATE TABLE dataprotect.audit_archive (
	seq_from bigint PRIMARY KEY,
	seq_to bigint NOT NULL,
	at_from timestamptz NOT NULL,
	at_to timestamptz NOT NULL,
	mac_before bytea NOT NULL,
	mac bytea NOT NULL,
	sha256 bytea NOT NULL,
	file text NOT NULL,
	archived_at timestamptz NOT NULL,
	sig bytea NOT NULL
);
COMMENT ON TABLE dataprotect.audit_archive IS 'records that were archived and dropped from audit_batch, signed with the chain key: the chain goes on from mac_before to mac';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.audit_archive', '');

CREATE TABLE dataprotect.audit_link (
	number int4 PRIMARY KEY,
	seq bigint NOT NULL,
	mac bytea NOT NULL,
	old_key bigint NOT NULL,
	new_key bigint NOT NULL,
	old_sig bytea NOT NULL,
	new_sig bytea NOT NULL,
	linked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE dataprotect.audit_link IS 'where another key of the audit chain took the place of the one before: the last record under the old key, and the MAC there, signed under both';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.audit_link', '');

CREATE FUNCTION dataprotect._link_chain() RETURNS int4
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dp_audit_link_chain';
COMMENT ON FUNCTION dataprotect._link_chain() IS 'makes the next key of the audit log''s chain, lets the chain go on under it, and signs its head, cursors and notes anew; its version';

-- Whoever stores or sends records holds the head in ROW SHARE mode (src/audit/chain_link.h),
-- and waits behind this one meanwhile: it lets them go first now and then.
CREATE FUNCTION dataprotect._rotate_chain_key() RETURNS int4
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
	v_locked bool;
BEGIN
	FOR v_attempt IN 1 .. 5 LOOP
		BEGIN
			LOCK TABLE dataprotect.audit_head IN EXCLUSIVE MODE;
			v_locked := true;
		EXCEPTION WHEN lock_not_available THEN
			PERFORM pg_sleep(0.2);
		END;
		IF v_locked THEN
			RETURN dataprotect._link_chain();
		END IF;
	END LOOP;
	PERFORM dataprotect._raise('lock_not_available',
		'the key of the audit log''s chain cannot be replaced while its head is locked',
		'A session that stores, sends or archives the log, or has locked its head, has not ended its transaction.',
		'Nothing was changed. View pg_locks says who holds dataprotect.audit_head; end that transaction, and try again.');
END $$;
COMMENT ON FUNCTION dataprotect._rotate_chain_key() IS 'makes the next key of the audit log''s chain and links it to the one before';

CREATE VIEW dataprotect.audit_archives AS
	SELECT a.seq_from, a.seq_to, a.at_from, a.at_to, pg_catalog.encode(a.sha256, 'hex') AS sha256, a.file, a.archived_at
	FROM dataprotect.audit_archive a;
COMMENT ON VIEW dataprotect.audit_archives IS 'records of the audit log that were written to a file and dropped: which, the SHA-256 of their lines, the file';

CREATE FUNCTION dataprotect._audit_start() RETURNS void
	LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'dp_audit_start';
COMMENT ON FUNCTION dataprotect._audit_start() IS 'makes the log of this installation begin now';
SELECT dataprotect._audit_start();

CREATE FUNCTION dataprotect._audit_unseal(sealed bytea,
	OUT actor text, OUT client text, OUT application text, OUT purpose text, OUT detail jsonb) RETURNS record
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'dp_audit_unseal';
COMMENT ON FUNCTION dataprotect._audit_unseal(bytea) IS 'opens the personal fields of an audit record for members of dataprotect_auditor';

CREATE FUNCTION dataprotect._audit_may_read() RETURNS bool
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'dp_audit_may_read';
COMMENT ON FUNCTION dataprotect._audit_may_read() IS 'true, or an error for who is no member of dataprotect_auditor';

CREATE FUNCTION dataprotect._names_subject(sealed bytea, key_ids bigint[]) RETURNS bool
	LANGUAGE c STRICT STABLE LEAKPROOF AS 'MODULE_PATHNAME', 'dp_audit_names_subject';
COMMENT ON FUNCTION dataprotect._names_subject(bytea, bigint[]) IS 'does an audit record tell that values under one of these keys of accounts were opened, or perhaps; reads of audit_record leave out what cannot';

CREATE FUNCTION dataprotect._known_keys(outcome "char", keys text[], result_keys text[]) RETURNS text[]
	LANGUAGE c IMMUTABLE LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_audit_known_keys';
COMMENT ON FUNCTION dataprotect._known_keys("char", text[], text[]) IS 'keys of a statement of the audit log: those of its result, where that is a record of its own';

CREATE FUNCTION dataprotect._event_name(event int2) RETURNS text
	LANGUAGE c STRICT IMMUTABLE LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_audit_event_name';
COMMENT ON FUNCTION dataprotect._event_name(int2) IS 'name of an event of the catalogue';

CREATE FUNCTION dataprotect._event(event text, key text, detail jsonb) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dp_audit_event';
COMMENT ON FUNCTION dataprotect._event(text, text, jsonb) IS 'records an administrative act; refuses events that are not in the catalogue';

CREATE FUNCTION dataprotect.flush_audit_log(timeout interval DEFAULT '10 seconds') RETURNS bool
	LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'dp_audit_flush';
COMMENT ON FUNCTION dataprotect.flush_audit_log(interval) IS 'waits until everything recorded so far is in audit_log; false where the time did not suffice';

CREATE FUNCTION dataprotect.take_standby_log(instance uuid, boot_seq bigint, frames bytea, mac bytea) RETURNS bigint
	LANGUAGE c STRICT VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'dp_audit_take';
COMMENT ON FUNCTION dataprotect.take_standby_log(uuid, bigint, bytea, bytea) IS 'called by a standby: takes audit records that it has made, and says how far they are here; for roles with REPLICATION, and who has the chain key';

CREATE FUNCTION dataprotect.verify_audit_log(OUT ok bool, OUT checked bigint, OUT first_bad bigint, OUT detail text)
	RETURNS record LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'dp_audit_verify';
COMMENT ON FUNCTION dataprotect.verify_audit_log() IS 'checks the chain over every batch of the audit log, and that none is missing at its end';

CREATE VIEW dataprotect.audit_log WITH (security_barrier) AS
SELECT i.seq,
	i.at,
	dataprotect._event_name(i.event) AS event,
	CASE
		WHEN known.outcome = 's' THEN coalesce(ending.name, 'started')
		WHEN known.outcome = 'o' THEN coalesce(ending.name, 'ok')
		WHEN known.outcome = 'e' THEN 'error'
		WHEN known.outcome = 'd' THEN 'denied'
		WHEN known.outcome = 'b' THEN 'rolled_back'
		WHEN known.outcome = 'c' THEN 'cancelled'
		WHEN known.outcome = 'l' THEN 'lost'
		WHEN known.outcome = 'p' THEN coalesce(ending.name, 'prepared')
	END AS outcome,
	i.session_role,
	i.role,
	(personal.fields).actor,
	(personal.fields).client,
	(personal.fields).application,
	pg_catalog.current_database()::text AS database,
	coalesce(i.columns, '{}') || coalesce(result.columns, '{}') AS columns,
	dataprotect._known_keys(i.outcome, i.keys, result.keys) AS keys,
	(SELECT coalesce(pg_catalog.sum(n), 0)::bigint FROM pg_catalog.unnest(coalesce(result.opened, i.opened)) AS n) AS values_opened,
	(SELECT coalesce(pg_catalog.sum(n), 0)::bigint FROM pg_catalog.unnest(coalesce(result.compared, i.compared)) AS n) AS values_compared,
	(personal.fields).purpose,
	(personal.fields).detail
FROM dataprotect.audit_record AS i
	LEFT JOIN LATERAL (
		SELECT r.outcome, r.columns, r.keys, r.opened, r.compared
		FROM dataprotect.audit_record AS r
		WHERE r.kind = 'r' AND r.ref_seq = i.ring_seq AND r.session = i.session AND r.instance = i.instance AND i.outcome = 's'
		LIMIT 1) AS result ON true
	CROSS JOIN LATERAL (SELECT coalesce(result.outcome, i.outcome) AS outcome) AS known
	CROSS JOIN LATERAL (
		SELECT CASE
			WHEN known.outcome NOT IN ('s', 'o', 'p') THEN NULL
			WHEN EXISTS (
				SELECT FROM dataprotect.audit_record AS x
				WHERE x.kind = 'x' AND x.outcome = 'b'
					AND x.session = i.session AND x.instance = i.instance
					AND x.ref_seq <= i.ring_seq AND x.ref_end >= i.ring_seq
					AND (x.event = 0 OR i.kind = 'e'))
				THEN 'rolled_back'
			WHEN i.kind = 'e' AND known.outcome IN ('s', 'p') AND EXISTS (
				SELECT FROM dataprotect.audit_record AS x
				WHERE x.kind = 'x' AND x.outcome = 'o'
					AND x.session = i.session AND x.instance = i.instance
					AND x.ref_seq <= i.ring_seq AND x.ref_end >= i.ring_seq)
				THEN 'ok'
			WHEN i.kind = 'e' AND known.outcome IN ('s', 'p') AND EXISTS (
				SELECT FROM dataprotect.audit_record AS x
				WHERE x.kind = 'x' AND x.outcome = 'l'
					AND x.session = i.session AND x.instance = i.instance
					AND x.ref_seq <= i.ring_seq AND x.ref_end >= i.ring_seq)
				THEN 'lost'
			WHEN i.kind = 'e' AND known.outcome = 's' AND EXISTS (
				SELECT FROM dataprotect.audit_record AS x
				WHERE x.kind = 'x' AND x.outcome = 'p'
					AND x.session = i.session AND x.instance = i.instance
					AND x.ref_seq <= i.ring_seq AND x.ref_end >= i.ring_seq)
				THEN 'prepared'
			END AS name) AS ending
	-- OFFSET: opened once a row, and only where a column of it is asked for
	CROSS JOIN LATERAL (SELECT dataprotect._audit_unseal(i.sealed) AS fields OFFSET 0) AS personal
WHERE dataprotect._audit_may_read()
	AND i.kind IN ('i', 'e') AND i.event <> 4     -- value.subjects belongs to a statement
	AND NOT (i.kind = 'i' AND known.outcome = 'o'
		AND 0 = ALL (coalesce(result.opened, i.opened, '{}')) AND 0 = ALL (coalesce(result.compared, i.compared, '{}')));
COMMENT ON VIEW dataprotect.audit_log IS 'who did what: one row for each statement that opened protected values and each administrative act';
