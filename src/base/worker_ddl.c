/*
 * worker_ddl.c
 *	  CREATE and DROP EXTENSION reach the launcher at commit; DROP, RENAME and
 *	  copying of a database do not wait for our workers in it.
 *
 * Such a command closes the database until its transaction ends: visits leave,
 * rounds under way are cancelled, no new ones come.
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/guc.h"
#include "base/statement.h"
#include "base/worker_shared.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

/* How long our workers are waited for: after that the command says who is in. */
#define VACATE_WAIT_MS	4000
#define VACATE_LOOK_MS	10

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

/* A slot for this database, or there is no room for the extension in it. */
static void
require_room(void)
{
	int			slot;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot = dp_worker_find_slot(MyDatabaseId, true);
	LWLockRelease(dp_worker_shared->lock);
	if (slot < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases with extension \"dataprotect\""),
				 errdetail("One server has room for %d.", DP_WORKER_MAX_DATABASES)));
}

/* Also of one whose row this command has just written. */
static bool
is_this_extension(Oid extension)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		is_ours;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	is_ours = HeapTupleIsValid(tuple) &&
		strcmp(NameStr(((Form_pg_extension) GETSTRUCT(tuple))->extname), "dataprotect") == 0;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return is_ours;
}

static void
note_extension_change(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (class_id != ExtensionRelationId || (access != OAT_POST_CREATE && access != OAT_DROP) ||
		!is_this_extension(object_id))
		return;
	if (access == OAT_POST_CREATE)
		require_room();
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
			/* what was used of it within the transaction is void as well */
			extension_changed = false;
			for (int i = 0; i < n_callbacks; i++)
				callbacks[i] ();
			break;
		case XACT_EVENT_PREPARE:
			extension_changed = false;
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			break;
	}
}

static void
forget_part(SubXactEvent event, SubTransactionId my_subid, SubTransactionId parent_subid, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_ABORT_SUB:
			for (int i = 0; extension_changed && i < n_callbacks; i++)
				callbacks[i] ();
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
		case SUBXACT_EVENT_COMMIT_SUB:
			break;
	}
}

/* A database that a command of this transaction needs to itself. */
typedef struct Vacated
{
	Oid			database;
	bool		dropped;
} Vacated;

static List *vacated = NIL;		/* in TopMemoryContext; until the transaction ends */

static const char *
template_of(const CreatedbStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL &&
			IsA(option->arg, String))
			return strVal(option->arg);
	}
	return NULL;
}

static const char *
tablespace_of(const AlterDatabaseStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		if (strcmp(option->defname, "tablespace") == 0 && option->arg != NULL &&
			IsA(option->arg, String))
			return strVal(option->arg);
	}
	return NULL;
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		may = superuser();

	if (HeapTupleIsValid(tuple))
	{
		may |= ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return may;
}

static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		is = false;

	if (HeapTupleIsValid(tuple))
	{
		is = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return is;
}

/*
 * The database that a command needs to itself, or InvalidOid.  The command has
 * not checked anything yet: without the rights that it will ask for, nothing
 * happens here that anybody else notices.  *out_owner: its owner may do it.
 * *out_create: who may create databases.
 */
static Oid
database_of(Node *statement, bool *out_owner, bool *out_create)
{
	const char *name = NULL;
	Oid			database;

	*out_owner = true;
	*out_create = false;
	if (IsA(statement, DropdbStmt))
		name = ((DropdbStmt *) statement)->dbname;
	else if (IsA(statement, RenameStmt) &&
			 ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
	{
		name = ((RenameStmt *) statement)->subname;
		*out_create = true;
	}
	else if (IsA(statement, AlterDatabaseStmt))
	{
		const char *tablespace = tablespace_of((AlterDatabaseStmt *) statement);
		Oid			oid = tablespace ? get_tablespace_oid(tablespace, true) : InvalidOid;

		if (OidIsValid(oid) && dp_may_create_in_tablespace(oid))
			name = ((AlterDatabaseStmt *) statement)->dbname;
	}
	else if (IsA(statement, CreatedbStmt))
	{
		name = template_of((CreatedbStmt *) statement);
		*out_create = true;
	}
	database = name ? get_database_oid(name, true) : InvalidOid;
	if (OidIsValid(database) && IsA(statement, CreatedbStmt))
		*out_owner = !is_template(database);
	return database;
}

static Oid
database_to_vacate(Node *statement, ProcessUtilityContext context)
{
	bool		owner;
	bool		create;
	Oid			database = database_of(statement, &owner, &create);

	if (!OidIsValid(database) || (owner && !dp_owns_database(database)) ||
		(create && !may_create_databases()))
		return InvalidOid;
	/* all but RENAME are refused inside a transaction */
	if (!IsA(statement, RenameStmt) &&
		(context != PROCESS_UTILITY_TOPLEVEL || IsTransactionBlock() || IsSubTransaction()))
		return InvalidOid;
	return database;
}

/* Tell whoever is in a database to leave; returns how many are still in. */
static int
send_away(int slot)
{
	int			still_in = 0;

	for (int i = 0; i < dp_guc_max_workers; i++)
	{
		DpPoolEntry *entry = &dp_worker_shared->pool[i];

		if (entry->state != DP_POOL_VISIT || entry->slot != slot || !entry->inside)
			continue;
		still_in++;
		SetLatch(entry->latch);
		if (entry->kind >= 0)
			(void) kill(entry->pid, SIGINT);
	}
	return still_in;
}

/* Returns how many are still in a database that was closed. */
static int
empty_database(Oid database)
{
	int			still_in = 0;
	int			slot;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot = dp_worker_find_slot(database, false);
	if (slot >= 0)
		still_in = send_away(slot);
	LWLockRelease(dp_worker_shared->lock);
	return still_in;
}

static void
close_database(Oid database)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Vacated    *entry = palloc0(sizeof(Vacated));
	int			slot;

	entry->database = database;
	vacated = lappend(vacated, entry);
	MemoryContextSwitchTo(old);

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot = dp_worker_find_slot(database, true);
	if (slot >= 0)
		dp_worker_shared->database[slot].closed++;
	LWLockRelease(dp_worker_shared->lock);
}

/* Open the last one that was closed, or all of them. */
static void
open_databases(bool all, bool committed)
{
	while (vacated != NIL)
	{
		Vacated    *entry = llast(vacated);
		int			slot;

		LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
		slot = dp_worker_find_slot(entry->database, false);
		if (slot >= 0)
		{
			if (dp_worker_shared->database[slot].closed > 0)
				dp_worker_shared->database[slot].closed--;
			dp_worker_shared->database[slot].gone |= committed && entry->dropped;
		}
		LWLockRelease(dp_worker_shared->lock);
		vacated = list_delete_last(vacated);
		pfree(entry);
		dp_worker_wake_launcher(true);
		if (!all)
			break;
	}
}

static void
vacate_database(Oid database, bool drop)
{
	close_database(database);
	((Vacated *) llast(vacated))->dropped = drop;
	PG_TRY();
	{
		for (int waited_ms = 0; empty_database(database) > 0 && waited_ms < VACATE_WAIT_MS;
			 waited_ms += VACATE_LOOK_MS)
		{
			(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, VACATE_LOOK_MS, PG_WAIT_EXTENSION);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_CATCH();
	{
		open_databases(false, false);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* From the beginning of a command to its end. */
#define VACATED			1
#define NEW_DATABASE	2

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	Node	   *statement = utility->statement;
	Oid			database = database_to_vacate(statement, utility->context);
	int			flags = 0;

	if (IsA(statement, CreatedbStmt))
		flags |= NEW_DATABASE;
	if (OidIsValid(database))
	{
		flags |= VACATED;
		vacate_database(database, IsA(statement, DropdbStmt));
	}
	*state = Int32GetDatum(flags);
}

/* What was closed opens as the transaction ends, or at once where it failed. */
static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	int			flags = DatumGetInt32(state);

	if ((flags & VACATED) && failed)
		open_databases(false, false);
	if ((flags & NEW_DATABASE) && !failed)
		dp_worker_wake_launcher(true);
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			open_databases(true, true);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			open_databases(true, false);
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
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
	RegisterSubXactCallback(forget_part, NULL);
	RegisterXactCallback(end_transaction, NULL);
}
