/*
 * prepared.c
 *	  Acts in transactions that were prepared; see prepared.h.
 */
#include "postgres.h"

#include "audit/audit_workers.h"
#include "audit/prepared.h"
#include "base/statement.h"
#include "base/worker.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#define LOOK_WITHIN_MS	500

/* NULL of a transaction that this server does not know (any more). */
#define STATUS \
	"CASE WHEN p.transaction OPERATOR(pg_catalog.<) pg_catalog.pg_current_xact_id() " \
	"THEN pg_catalog.pg_xact_status(p.transaction) END"
#define HAS_ENDED	STATUS " IS DISTINCT FROM 'in progress'"

static void
run(const char *sql, int n_args, Oid *types, Datum *values, long limit)
{
	int			rc = SPI_execute_with_args(sql, n_args, types, values, NULL, false, limit);

	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
}

void
dp_prepared_keep(const DpBatchEntry *entry, const uint8 *instance)
{
	Oid			types[5] = {UUIDOID, INT8OID, INT8OID, INT8OID, XID8OID};
	Datum		values[5];

	values[0] = dp_batch_instance(instance);
	values[1] = Int64GetDatum((int64) entry->session);
	values[2] = Int64GetDatum((int64) entry->ref_seq);
	values[3] = Int64GetDatum((int64) entry->ref_end);
	values[4] = FullTransactionIdGetDatum(FullTransactionIdFromU64(entry->transaction));
	run("INSERT INTO dataprotect.audit_prepared (instance, session, ring_from, ring_to, transaction) "
		"VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", 5, types, values, 0);
}

bool
dp_prepared_ended(uint8 *out_instance)
{
	bool		isnull;

	run("SELECT p.instance FROM dataprotect.audit_prepared AS p WHERE " HAS_ENDED, 0, NULL, NULL, 1);
	if (SPI_processed == 0)
		return false;
	memcpy(out_instance,
		   DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull))->data,
		   DP_RING_INSTANCE_LEN);
	return true;
}

static DpOutcome
outcome_of(const char *status)
{
	if (status == NULL)
		return DP_OUTCOME_LOST;
	return strcmp(status, "committed") == 0 ? DP_OUTCOME_OK : DP_OUTCOME_ROLLED_BACK;
}

void
dp_prepared_take_ends(DpBatch *batch)
{
	Oid			types[2] = {UUIDOID, INT4OID};
	Datum		values[2];
	bool		isnull;

	values[0] = dp_batch_instance(batch->instance);
	values[1] = Int32GetDatum(DP_BATCH_MAX / 2);
	run("DELETE FROM dataprotect.audit_prepared AS p USING "
		"(SELECT p.instance, p.session, p.ring_from, " STATUS " AS status FROM dataprotect.audit_prepared AS p "
		"WHERE p.instance OPERATOR(pg_catalog.=) $1 AND " HAS_ENDED " LIMIT $2) AS e "
		"WHERE p.instance OPERATOR(pg_catalog.=) e.instance AND p.session OPERATOR(pg_catalog.=) e.session "
		"AND p.ring_from OPERATOR(pg_catalog.=) e.ring_from "
		"RETURNING p.session, p.ring_from, p.ring_to, e.status", 2, types, values, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		dp_batch_add_end(batch,
						 (uint64) DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull)),
						 (uint64) DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull)),
						 (uint64) DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull)),
						 outcome_of(SPI_getvalue(tuple, desc, 4)));
	}
}

/* One has ended: the collector need not wait for its next round. */
static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	TransactionStmt *statement = (TransactionStmt *) utility->statement;

	if (!failed && IsA(statement, TransactionStmt) &&
		(statement->kind == TRANS_STMT_COMMIT_PREPARED || statement->kind == TRANS_STMT_ROLLBACK_PREPARED))
		dp_worker_wake_within(MyDatabaseId, DP_AUDIT_WORKER_KIND, LOOK_WITHIN_MS);
}

static const DpSubscriber subscriber = {
	.name = "prepared transactions",
	.end_utility = end_utility,
};

void
dp_prepared_init(void)
{
	dp_statement_subscribe(&subscriber);
}
