# dataprotect: the object list reads as the architecture, lowest layer first.
# A file includes only from its own folder and from the folders above it here.
EXTENSION   = dataprotect
EXTVERSION  = 0.2.0
MODULE_big  = dataprotect
PGFILEDESC  = "dataprotect - encrypted columns, audit, retention, deletion"

OBJS = \
       $(addprefix src/base/, argument.o autonomous.o catalog_change.o guc.o launcher.o pinned_settings.o progress.o raise.o report.o pooled.o \
           result.o secret.o server_checks.o shmem.o statement.o text.o uptime.o worker.o worker_ddl.o worker_order.o worker_process.o \
           worker_view.o worker_visit.o) \
       $(addprefix src/crypto/, aead.o envelope.o jws.o keywrap.o prf.o public_key.o random.o short_gcm.o sign.o) \
       $(addprefix src/events/, actor.o denial.o event.o record.o record_frame.o ring.o ring_file.o transaction.o \
           witness.o) \
       $(addprefix src/kms/, agent.o aws_credentials.o aws_plan.o aws_process.o aws_profile.o call.o child_call.o client.o http.o job.o key_set.o kms_shmem.o \
           provider_aws.o provider_file.o provider_hcvault.o provider_kmip.o provider_pkcs11.o reply.o roots.o secret_file.o status.o transfer.o ttlv.o uri.o uri_policy.o vault_login.o) \
       $(addprefix src/keys/, arena.o cache.o catalog.o epoch.o expiry.o family.o generation.o held_keys.o invalidation.o key_errors.o key_export.o \
           keys.o mint.o own_function.o own_sequence.o own_step.o pinned_keys.o policy_alarm.o policy_root.o policy_seal.o policy_trigger.o \
           seal_budget.o spare_key.o subject_key.o system_keys.o unwrap_key.o wrapped_keys.o) \
       $(addprefix src/access/, access.o foreign_code.o foreign_temporary.o foreign_utility.o grantee.o identity.o mask.o open_query.o restored.o role_drop.o search_count.o sql_runner.o taken_cursor.o token.o token_keys.o token_replay.o) \
       $(addprefix src/audit/, alert.o change_events.o changed_tables.o digest.o sink_batch.o sink_file.o sink_http.o sink_line.o sink_reply.o \
           sink_round.o sink_rows.o sink_splunk.o sink_state.o sink_syslog.o sink_uri.o) \
       $(addprefix src/audit/, activity.o archive.o audit_log.o batch.o chain.o chain_link.o collector.o forward.o literals.o log_batch.o name_filter.o record_filter.o \
           packed.o parallel.o prepared.o protected_columns.o record_plan.o record_scan.o redact.o refusals.o role_events.o rotate_chain.o segment.o store.o subjects.o track.o unpack.o verify.o writer.o) \
       $(addprefix src/types/, client_query.o client_row.o client_type.o cursor_query.o described_cursor.o json.o plain_type.o reflection.o wire.o word_search.o \
           analyze.o array_side.o canonical.o cast.o codec.o compare.o derive.o distributed.o document_search.o fold.o formula.o hash.o io.o lexeme_search.o maintenance.o mention.o min_max.o mixed_width.o narrow_bound.o \
           modifier.o modifier_collect.o modifier_ddl.o modifier_registry.o modifier_seal.o modifier_table.o \
           modifier_words.o open_memo.o operand.o plan_place.o plpgsql_results.o query_result.o replaced_view.o resolve.o resolver.o row_condition.o row_value.o seal.o seal_right.o show.o sort.o \
           stored_value.o storing.o subscript.o typeinfo.o types.o value.o) \
       $(addprefix src/columns/, bound_row.o changed_row.o columns.o contains_encrypted.o definition_literals.o encrypted_parts.o folded_index.o foreign_argument.o foreign_call.o foreign_condition.o foreign_expression.o foreign_trigger.o generated.o guard.o \
           guard_alter.o guard_catalog.o guard_drop.o guard_index.o guard_object.o guard_shadow.o guard_type.o hidden_index.o insert_counts.o kept_value.o online.o own_runner.o preload_keys.o put_off.o restored_rows.o stored_index.o \
           protect_column.o query_column.o reencrypt.o reencrypt_worker.o reseal.o seen_by.o stored_scan.o token_constraint.o try_views.o value_origin.o verify_values.o word_index.o) \
       $(addprefix src/sqlrun/, batch_commit.o change_as.o client_statement.o definer.o index_builder.o kept_plan.o own_tables.o rows_as.o run_as.o) \
       $(addprefix src/lifecycle/, certificate.o clock.o deletion.o due_work.o erasure_file.o export.o expression.o hidden_row.o page_scan.o partition.o \
           plan_ddl.o retention.o retention_batch.o retention_table.o) \
       src/dataprotect.o

# Install SQL, in this order.
SQL_PARTS = \
       $(addprefix src/base/, schema.sql raise.sql acl.sql pinned_settings.sql workers.sql progress.sql) \
       $(addprefix src/kms/, kms.sql) \
       $(addprefix src/keys/, key_tables.sql policy.sql mint.sql administration.sql subject_keys.sql \
           key_export.sql epoch.sql expiry.sql key_views.sql) \
       $(addprefix src/access/, mask.sql identity.sql access.sql approval.sql foreign_code.sql) \
       $(addprefix src/audit/, audit.sql sink.sql review.sql) \
       $(addprefix src/types/, json.sql reflection.sql derive.sql types.sql mixed_width.sql type_operators.sql type_overloads.sql make_types.sql) \
       $(addprefix src/columns/, put_off.sql bound_row.sql obstacles.sql dependents.sql column_properties.sql column_objects.sql around_column.sql column_type.sql generated.sql \
           encrypt_column.sql reencrypt.sql online_objects.sql online.sql progress_view.sql verify_values.sql key_guards.sql) \
       $(addprefix src/sqlrun/, sqlrun.sql) \
       $(addprefix src/lifecycle/, clock.sql common.sql hold.sql retention.sql retention_try.sql retention_policy.sql \
           retention_run.sql schedule.sql subject.sql account.sql account_edges.sql account_annotate.sql \
           account_columns.sql account_plan.sql account_check.sql bind_subject.sql deletion_request.sql \
           deletion_collect.sql deletion_purge.sql hidden_row.sql \
           deletion_run.sql certificate.sql erasure_list.sql erasure_replay.sql correction.sql deadline.sql unused_version.sql) \
       $(addprefix src/report/, version.sql configuration.sql discovery.sql setup.sql metrics.sql disclosures.sql incident.sql \
           control_report.sql page.sql) \
       src/sealed_tables.sql src/restored_tables.sql src/statistics.sql src/privileges.sql src/pinned_routines.sql src/report/first_step.sql

# From each earlier release straight to this version.
RELEASES     = $(patsubst src/upgrade/$(EXTENSION)--%.sql.gz,%,$(wildcard src/upgrade/$(EXTENSION)--*.sql.gz))
UPGRADES     = $(patsubst %,$(EXTENSION)--%--$(EXTVERSION).sql,$(filter-out $(EXTVERSION),$(RELEASES)))

DATA_built   = $(EXTENSION)--$(EXTVERSION).sql $(UPGRADES)
EXTRA_CLEAN  = $(EXTENSION)--*.sql

REGRESS      = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
REGRESS_OPTS = --inputdir=. --temp-config=test/regress.conf
TAP_TESTS    = 1
PROVE_TESTS  = test/tap/*.pl

DP_CFLAGS   = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
              -Wno-missing-field-initializers -fstack-protector-strong
PG_CPPFLAGS = -I$(srcdir)/src
# Calls within the library are direct: nothing is meant to take their place.
PG_CFLAGS   = $(DP_CFLAGS) -fno-semantic-interposition $(COPT_DP)
SHLIB_LINK  = -lcrypto -lcurl -lz -ldl -Wl,-Bsymbolic -Wl,-z,relro,-z,now

PG_CONFIG  ?= pg_config
PGXS       := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# What CHANGELOG.md says of this version: a day, or "unreleased".
src/base/server_checks.o src/base/server_checks.bc: override CPPFLAGS += -DDP_VERSION='"$(EXTVERSION)"' \
	-DDP_RELEASED='"$(shell sed -n 's/^.. \[$(EXTVERSION)\] - //p' $(srcdir)/CHANGELOG.md)"'
src/base/server_checks.o src/base/server_checks.bc: CHANGELOG.md Makefile

$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) Makefile
	{ printf '%s\n' '\echo Use "CREATE EXTENSION dataprotect" to load this file. \quit'; \
	  cat $(SQL_PARTS); } > $@

$(UPGRADES): $(EXTENSION)--%--$(EXTVERSION).sql: src/upgrade/$(EXTENSION)--%.sql.gz $(EXTENSION)--$(EXTVERSION).sql \
		$(wildcard src/upgrade/*.sql) pgxs/upgrade.pl
	perl $(srcdir)/pgxs/upgrade.pl script $(srcdir)/src/upgrade $* $(EXTVERSION) $(EXTENSION)--$(EXTVERSION).sql > $@.new
	mv $@.new $@

include $(srcdir)/pgxs/targets.mk
