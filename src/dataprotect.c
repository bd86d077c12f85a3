/*
 * dataprotect.c
 *	  Wires the layers together, lowest first; nothing else.
 */
#include "postgres.h"

#include "access/access.h"
#include "audit/track.h"
#include "base/guc.h"
#include "base/pooled.h"
#include "base/secret.h"
#include "base/shmem.h"
#include "base/statement.h"
#include "base/worker.h"
#include "columns/columns.h"
#include "events/event.h"
#include "fmgr.h"
#include "keys/keys.h"
#include "kms/kms.h"
#include "lifecycle/lifecycle.h"
#include "miscadmin.h"
#include "sqlrun/index_builder.h"
#include "sqlrun/own_tables.h"
#include "sqlrun/run_as.h"
#include "types/types.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dataprotect must be loaded when the server starts"),
				 errhint("Add \"dataprotect\" to shared_preload_libraries and restart the server.")));

	dp_guc_init();
	dp_secret_init();
	dp_shmem_init();
	dp_statement_init();
	dp_worker_init();
	dp_pooled_init();
	dp_event_init();
	dp_kms_init();
	dp_keys_init();
	dp_access_init();
	dp_audit_init();
	dp_types_init();
	dp_columns_init();
	dp_run_as_init();
	dp_own_tables_init();
	dp_index_builder_init();
	dp_lifecycle_init();
}
