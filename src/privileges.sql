--
-- Who may use what.  Nobody but the owner has a privilege on an object of the
-- extension unless a line says so: for a table or view SELECT, for a function or
-- procedure EXECUTE, for the schema USAGE.  What belongs to an encrypted type is
-- everybody's (_type_routines in types.sql).
--
-- An upgrade script replaces _privileges() and calls
-- _set_privileges() at its end, or _close() for the one object it makes.
--
CREATE FUNCTION dataprotect._privileges(OUT kind text, OUT name text, OUT grantees text) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
VALUES
    -- the names of what stands below; nothing by itself
    ('SCHEMA', 'dataprotect', 'PUBLIC'),
    -- reports, and what the administrator set up
    ('TABLE', 'dataprotect.account_keys', 'dataprotect_auditor'),
    ('TABLE', 'dataprotect.audit_subjects', 'dataprotect_auditor'),
    ('TABLE', 'dataprotect.incidents', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.approvals', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.access_review', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.account_rule', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.account_type', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.alerts', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.audit_archives', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.audit_digests', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.audit_lines', 'dataprotect_auditor'),
    ('TABLE', 'dataprotect.audit_log', 'dataprotect_auditor'),
    ('TABLE', 'dataprotect.correction_requests', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.clock_status', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.deletion_requests', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.epochs', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.grants', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.holds', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.key_versions', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.keys', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.kms_status', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.progress', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.protected_columns', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.online_progress', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.reencrypt_progress', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.retention_policies', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.retention_runs', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.sinks', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.subject_binding', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.trusted_functions', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.type_modifiers', 'dataprotect_admin, dataprotect_auditor'),
    ('TABLE', 'dataprotect.workers', 'dataprotect_admin, dataprotect_auditor'),
    -- the public functions and procedures
    ('ROUTINE', 'dataprotect.account_plan', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.acknowledge_alert', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.activate_retention', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.accept_restore', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.alter_account_type', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.alter_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.alter_retention_policy', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.annotate_account', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.approve', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.authenticate', 'PUBLIC'),
    ('ROUTINE', 'dataprotect.bind_subject', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.blind(pg_catalog.encrypted_text, text)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect.not_empty', 'PUBLIC'),
    ('ROUTINE', 'dataprotect.blind(pg_catalog.encrypted_jsonb, text)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect.cancel_deletion', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.certificate_public_pem', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.check_account_type', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.close_incident', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.confirm_clock', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.confirm_grant', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.control_report', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.create_account_type', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.check_setup', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.create_encrypted_type', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.create_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.create_retention_policy', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.create_sink', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.dataprotect_version', 'PUBLIC'),
    ('ROUTINE', 'dataprotect.decrypt_column', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.deletion_certificate', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.destroy_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.digest_kms_public_pem', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.digest_public_pem', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.distrust_function', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.destroy_roots', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.disclosures', 'dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.drill', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.drill_export', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.drop_account_type', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.drop_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.drop_retention_policy', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.drop_sink', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.encrypt_column', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.encrypt_columns', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.export_account', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.export_account_rows', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.export_erasures', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.export_keys', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.find_personal_data', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.finish_correction', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.flush_audit_log', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.grant_access', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.import_keys', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.incident_scope', 'dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.lift_lockdown', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.lint_configuration', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.lockdown', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.metrics', 'dataprotect_admin, dataprotect_auditor, pg_monitor'),
    ('ROUTINE', 'dataprotect.note_incident', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.open_incident', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.pause_retention', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.online_cancel', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.place_hold', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.preview_retention', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.protect_plan', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.reencrypt', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.release_hold', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.rename_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.verify_policy', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.reseal_policy', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.replay_erasures', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.roll_epoch', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.rotate_system_keys', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.run_epochs', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.schedule_epochs', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.report', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.request_approval', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.request_correction', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.request_deletion', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.resume_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.retain_account', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.revoke_access', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.rewrap_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.rotate_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.run_deletions', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.run_retention', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.schedule_maintenance', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.start_maintenance', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.suspend_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.trust_function', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.unannotate_account', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.unbind_subject', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect.verify', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect.verify_audit_log', 'dataprotect_admin, dataprotect_auditor'),
    -- evaluated by a CHECK constraint, as whoever writes the row; asks for itself
    ('ROUTINE', 'dataprotect._catalog_length', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._catalog_modifier', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._catalog_type', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._kept_value', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_date(timestamp, int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_date(timestamptz, int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_float4(float8, int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_float4(float8[], int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_int2(int4, int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_int2(int4[], int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_int2(int8, int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_int2(int8[], int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_int4(int8, int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_int4(int8[], int4)', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._as_timestamp', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._raise', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._row_shown', 'PUBLIC'),
    ('ROUTINE', 'dataprotect._sealed_for', 'PUBLIC'),
    -- called by public procedures, views and functions with the rights of their caller,
    -- and by nobody else: keys/own_function.c, which also says what views need
    ('ROUTINE', 'dataprotect._audit_line', 'dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._audit_unseal', 'dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._digest_line', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._base_modifier', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._base_type', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._bind_drop', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._bind_refresh', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._can_make_type', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._capture_foreign_keys', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._capture_functions', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._capture_indexes', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._capture_around', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._capture_policies', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._capture_statistics', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._capture_table', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._capture_views', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._change_columns', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._check_column', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._check_decrypt', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._check_encrypt', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._check_links', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._check_views', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._dependent_policies', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._policy_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._dependent_publications', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._capture_publications', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._publication_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._policy_trials', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._stored_view_statements', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._token_class', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._will_have_tokens', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._view_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._try_views', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._column_indexes', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._column_key', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._column_members', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._columns_members', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._column_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._column_partitions', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._column_kind', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._column_wishes', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._tied_wishes', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._computes_from', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._dependent_functions', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._dependent_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._dependent_rules', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._dependent_views', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._has_dependents', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._dependents_path', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._encrypted_parts', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._check_base_type', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._decrypt_one', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._domain_check', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._domain_rules', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._encrypt_columns', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._encrypt_table', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._encrypt_columns_at_once', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._encrypt_column_at_once', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._encrypt_online', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_fill', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._touch_blocks', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_target', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_trigger', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._wish_type', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._check_online', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_begin', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._column_grants', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_constrain', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_prove', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_swap', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_undo', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_step', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._online_batch', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._encrypted_type', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._encrypted_type_advice', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._event_name', 'dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._export_rows', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._export_rows_noted', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._grant_statements', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._index_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._index_statement', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._function_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._index_computes', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._index_folds', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._unfold', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._index_predicate', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._lexeme_index', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._check_lengths', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._predicate_computes', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._has_stale_versions', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._key_state', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._linked_columns', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._workers', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._kms_status', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._may_reveal', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._mentioning_functions', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._modifier_parts', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._now', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._order_obstacle', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._reencrypt_batch', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._reencrypt_begin', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._reencrypt_end', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._reencrypt_report', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._reencrypt_targets', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._reencrypt_wake', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._progress', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._progress_begin', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._progress_end', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._refresh_binding', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._protected_type', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._refuse_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._type_name_is_free', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._type_obstacles', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._word_index_statement', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._reset_privileges', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._reset_routine', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._clock_status', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._column_now', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._retention_backlog', 'dataprotect_admin, dataprotect_auditor'),
    ('ROUTINE', 'dataprotect._rows_as_json', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._table_blocks', 'dataprotect_admin'),
    ('ROUTINE', 'dataprotect._unreadable_values', 'dataprotect_admin')
$$;
COMMENT ON FUNCTION dataprotect._privileges() IS 'which roles may use which objects of the extension, beside its types';

-- Its own partitions and types that were made after the installation are none
-- of the extension's members: whoever makes them closes them.
CREATE FUNCTION dataprotect._members(OUT class oid, OUT object oid) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.classid, d.objid
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'dataprotect'
$$;
COMMENT ON FUNCTION dataprotect._members() IS 'the objects of the extension';

CREATE FUNCTION dataprotect._set_privileges() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    r record;
    v_privilege text;
    v_open oid[];
BEGIN
    -- what everybody may call has that by default: nothing to take away, nothing to give
    SELECT coalesce(array_agg(p.oid), '{}') INTO STRICT v_open
        FROM dataprotect._members() m, dataprotect._type_routines(m.object) t (routine) JOIN pg_catalog.pg_proc p ON p.oid = t.routine
        WHERE m.class = 'pg_type'::regclass AND dataprotect._base_type(m.object) IS NOT NULL AND p.proacl IS NULL;
    FOR r IN
        SELECT DISTINCT g.kind, g.name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
            FROM dataprotect._members() m, dataprotect._grantable(m.class, m.object) g, aclexplode(g.acl) a
            WHERE a.grantee <> g.owner AND NOT (m.class = 'pg_proc'::regclass AND m.object = ANY (v_open))
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', r.kind, r.name, r.grantee);
    END LOOP;
    FOR r IN
        SELECT format('TYPE %s', m.object::regtype) AS name FROM dataprotect._members() m
            WHERE m.class = 'pg_type'::regclass AND dataprotect._base_type(m.object) IS NOT NULL
        UNION ALL
        SELECT format('ROUTINE %s', p.oid::regprocedure)
            FROM dataprotect._members() m, dataprotect._type_routines(m.object) t (routine) JOIN pg_catalog.pg_proc p ON p.oid = t.routine
            WHERE m.class = 'pg_type'::regclass AND dataprotect._base_type(m.object) IS NOT NULL AND p.proacl IS NOT NULL
    LOOP
        EXECUTE format('GRANT ALL ON %s TO PUBLIC', r.name);
    END LOOP;
    FOR r IN SELECT * FROM dataprotect._privileges() LOOP
        v_privilege := CASE r.kind WHEN 'ROUTINE' THEN 'EXECUTE' WHEN 'TABLE' THEN 'SELECT' ELSE 'USAGE' END;
        EXECUTE format('GRANT %s ON %s %s TO %s', v_privilege, r.kind, r.name, r.grantees);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._set_privileges() IS 'gives every object of the extension the privileges of _privileges(), and no other';

SELECT dataprotect._set_privileges();
