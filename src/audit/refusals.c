/*
 * refusals.c
 *	  Acts that PostgreSQL itself refused; see refusals.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "audit/protected_columns.h"
#include "audit/refusals.h"
#include "base/compat.h"
#include "base/statement.h"
#include "base/worker.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "events/denial.h"
#include "miscadmin.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static MemoryContext message_context = NULL;

/* When an error was met last: it went on through the frame around it, if nothing ran since. */
#define NO_MOMENT (PG_UINT64_MAX - 1)
static uint64 last_moment = NO_MOMENT;

/* PostgreSQL's own messages about a privilege; a name follows. */
static const char *const prefixes[] = {
	"permission denied for function ",
	"permission denied for procedure ",
	"permission denied for routine ",
	"permission denied for table ",
	"permission denied for view ",
	"permission denied for sequence ",
	"must be owner of function ",
	"must be owner of procedure ",
	"must be owner of routine ",
	"must be owner of table ",
	"must be owner of view ",
	"must be owner of sequence "
};

static void
count(const char *message_id, const char *message)
{
	for (int i = 0; i < lengthof(prefixes); i++)
	{
		Size		len = strlen(prefixes[i]);

		if (message_id == NULL || message == NULL || strncmp(message_id, prefixes[i], len) != 0)
			continue;
		dp_denial_count_object(strncmp(message, prefixes[i], len) == 0 ? message + len : "");
		return;
	}
}

static void
note_error(int sqlstate)
{
	bool		went_on = dp_statement_moment == last_moment + 1;
	MemoryContext old;
	ErrorData  *edata;

	last_moment = dp_statement_moment;
	if (sqlstate != ERRCODE_INSUFFICIENT_PRIVILEGE || went_on || !OidIsValid(MyDatabaseId) ||
		!dp_worker_database_known(MyDatabaseId))
		return;
	old = MemoryContextSwitchTo(message_context);
	edata = CopyErrorData();
	MemoryContextSwitchTo(old);
	count(edata->message_id, edata->message);
	MemoryContextReset(message_context);
}

/* Here come those that no frame has met: a call of a function by the protocol. */
void
dp_refusal_logged(const ErrorData *edata)
{
	bool		was_met = dp_statement_moment == last_moment;

	last_moment = NO_MOMENT;
	if (edata->sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE || was_met)
		return;
	count(edata->message_id, edata->message);
}

/* Is there a function of the extension's of that name? */
static bool
is_function(const char *name, Oid schema)
{
	CatCList   *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	bool		found = false;

	for (int i = 0; i < list->n_members && !found; i++)
		found = ((Form_pg_proc) GETSTRUCT(&list->members[i]->tuple))->pronamespace == schema;
	ReleaseSysCacheList(list);
	return found;
}

/*
 * Is there a relation of that name with protected columns?  The collector asks: no lock
 * of anybody's on a relation keeps it.  Temporary ones are their own role's.
 */
static bool
is_protected(const char *name)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	bool		found = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_class_relname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	scan = systable_beginscan(catalog, ClassNameNspIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class relation = (Form_pg_class) GETSTRUCT(tuple);

		found = relation->relpersistence != RELPERSISTENCE_TEMP &&
			(relation->relkind == RELKIND_RELATION || relation->relkind == RELKIND_PARTITIONED_TABLE ||
			 relation->relkind == RELKIND_VIEW || relation->relkind == RELKIND_MATVIEW) &&
			dp_audit_has_protected(relation->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static bool
matters(const char *object)
{
	Oid			schema = get_namespace_oid("dataprotect", true);
	NameData	name;

	if (object[0] == '\0')
		return true;
	memset(&name, 0, sizeof(name));
	strlcpy(NameStr(name), object, NAMEDATALEN);
	return (OidIsValid(schema) && (is_function(NameStr(name), schema) || OidIsValid(get_relname_relid(NameStr(name), schema)))) ||
		is_protected(NameStr(name));
}

static const DpSubscriber subscriber = {
	.name = "refusals",
	.error = note_error,
};

void
dp_refusals_init(void)
{
	message_context = AllocSetContextCreate(TopMemoryContext, "dataprotect refusals", ALLOCSET_SMALL_SIZES);
	dp_denial_set_judge(matters);
	dp_statement_subscribe(&subscriber);
}
