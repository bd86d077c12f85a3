/*
 * worker_ddl.c
 *	  CREATE and DROP EXTENSION reach the launcher at commit; DROP, RENAME and
 *	  copying of a database do not wait for our workers in it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/statement.h"
#include "base/worker_shared.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* How long a database stays closed to our workers, at most, and is waited for. */
#define VACATE_MS		30000
#define VACATE_WAIT_MS	4000

#define MAX_CALLBACKS	4

static void (*callbacks[MAX_CALLBACKS]) (void);
static int	n_callbacks = 0;

static bool extension_changed = false;	/* in this transaction */
static bool extension_present = false;	/* as of its end */

void
dp_worker_on_extension_change(void (*callback) (void))
{
	if (n_callbacks >= MAX_CALLBACKS)
		elog(ERROR, "too many callbacks for a change of the extension");
	callbacks[n_callbacks++] = callback;
}

static void
note_extension_change(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (class_id == ExtensionRelationId && (access == OAT_POST_CREATE || access == OAT_DROP))
		extension_changed = true;
}

static void
announce_extension_change(XactEvent event, void *arg)
{
	if (!extension_changed)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			/* the session that ends it would have to tell, and does not know */
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that created, altered or dropped extension \"%s\"",
							"dataprotect")));
			break;
		case XACT_EVENT_PRE_COMMIT:
			extension_present = OidIsValid(get_extension_oid("dataprotect", true));
			break;
		case XACT_EVENT_COMMIT:
			extension_changed = false;
			for (int i = 0; i < n_callbacks; i++)
				callbacks[i] ();
			dp_worker_announce(extension_present);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			extension_changed = false;
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			break;
	}
}

/* The database that a statement needs to itself, or InvalidOid. */
static Oid
database_to_vacate(Node *statement)
{
	const char *name = NULL;

	if (IsA(statement, DropdbStmt))
		name = ((DropdbStmt *) statement)->dbname;
	else if (IsA(statement, RenameStmt) &&
			 ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		name = ((RenameStmt *) statement)->subname;
	else if (IsA(statement, AlterDatabaseStmt))
		name = ((AlterDatabaseStmt *) statement)->dbname;
	else if (IsA(statement, CreatedbStmt))
	{
		ListCell   *cell;

		foreach(cell, ((CreatedbStmt *) statement)->options)
		{
			DefElem    *option = (DefElem *) lfirst(cell);

			if (strcmp(option->defname, "template") == 0 && option->arg != NULL &&
				IsA(option->arg, String))
				name = strVal(option->arg);
		}
	}
	return name ? get_database_oid(name, true) : InvalidOid;
}

/* Set until when workers stay out; returns how many are still in. */
static int
close_database(Oid database, TimestampTz until)
{
	Latch	   *launcher;
	int			still_in = 0;
	int			slot;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot = dp_worker_find_slot(database, false);
	if (slot >= 0)
	{
		dp_worker_shared->database[slot].vacate_until = until;
		for (int k = 0; k < dp_worker_n_kinds; k++)
		{
			DpWorkerSlot *worker = &dp_worker_shared->database[slot].kind[k];

			if (worker->pid != 0)
			{
				SetLatch(worker->latch);
				still_in++;
			}
		}
	}
	launcher = dp_worker_shared->launcher;
	LWLockRelease(dp_worker_shared->lock);
	if (until == 0 && launcher != NULL)
		SetLatch(launcher);
	return still_in;
}

static void
vacate_database(Oid database)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), VACATE_MS);

	for (int waited_ms = 0; close_database(database, until) > 0 && waited_ms < VACATE_WAIT_MS;
		 waited_ms += 20)
	{
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 20, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	Oid			database = database_to_vacate(utility->statement);

	*state = ObjectIdGetDatum(database);
	if (!OidIsValid(database))
		return;
	PG_TRY();
	{
		vacate_database(database);
	}
	PG_CATCH();
	{
		(void) close_database(database, 0);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	Oid			database = DatumGetObjectId(state);

	/* One that is gone stays closed: the launcher may see it until we commit. */
	if (OidIsValid(database) && (failed || !IsA(utility->statement, DropdbStmt)))
		(void) close_database(database, 0);
}

static const DpSubscriber subscriber = {
	.name = "workers",
	.begin_utility = begin_utility,
	.end_utility = end_utility,
	.object_access = note_extension_change,
};

void
dp_worker_subscribe(void)
{
	dp_statement_subscribe(&subscriber);
	RegisterXactCallback(announce_extension_change, NULL);
}
