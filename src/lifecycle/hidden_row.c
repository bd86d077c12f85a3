/*
 * hidden_row.c
 *	  Rows of accounts in their grace time that nobody is shown.
 *
 * Nothing of the table is changed: what comes back when a deletion is cancelled was
 * never gone, whatever triggers and mass updates did meanwhile, and nobody takes a
 * unique value that comes back.  A request notes the rows by their primary key in
 * dataprotect.hidden_row; every query on a table of dataprotect.hidden_table gets a
 * condition that asks for each row, where the planner takes row security from.  It is
 * added as the planner reads the relation, so that it is there in views, in functions
 * that were inlined, in what is updated.
 *
 * As with row security: superusers and roles with BYPASSRLS see everything (they
 * move and repair tables); where row_security is off a hidden row is an error and
 * no row too few.  Unlike it: owners are not exempt, and it needs no policy that
 * others would have to be weighed against.  Without the condition go our own
 * statements (the deletion has to find the rows) and those of referential integrity.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "keys/catalog.h"
#include "lib/stringinfo.h"
#include "lifecycle/lifecycle.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "sqlrun/run_as.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_row_shown);
PG_FUNCTION_INFO_V1(dp_lifecycle_hidden_table_changed);

/*
 * Calls that the planner's condition makes, and nobody who writes SQL can: whether
 * an account is being deleted is not for everybody to ask.
 */
#define OWN_LOCATION	(-42)

/* Rows that are asked for one by one before all hidden ones are remembered. */
#define ASK_FIRST		100

enum
{
	Anum_hidden_rel = 1,
	Anum_hidden_key
};

/* What is known of a relation; valid until the tables' invalidation. */
typedef struct Hidden
{
	Oid			relid;			/* key */
	Oid			top;			/* whose rows are noted; InvalidOid: none are */
	int			n_keys;
	AttrNumber	keys[INDEX_MAX_KEYS];
} Hidden;

static HTAB *known = NULL;
static Oid	watched = InvalidOid;	/* hidden_table */
static uint64 invalidations = 0;
static bool is_settled = false; /* watched is hidden_table, and the extension is there */

static void
unsettle(int cacheid, uint32 hashvalue)
{
	is_settled = false;
}

static void
relation_invalidated(Oid relid)
{
	invalidations++;
	if (relid == InvalidOid || relid == watched)
		is_settled = false;
	if (known == NULL)
		return;
	if (relid == InvalidOid || relid == watched)
	{
		hash_destroy(known);
		known = NULL;
	}
	else
		(void) hash_search(known, &relid, HASH_REMOVE, NULL);
}

/*
 * One of our two tables, by the columns that are read of it: tables of users can be
 * read while the library and the objects are of different versions.
 */
static Relation
open_own(const char *name, int n_columns)
{
	Oid			schema = get_namespace_oid("dataprotect", false);
	Oid			relid = get_relname_relid(name, schema);
	Relation	rel;
	TupleDesc	desc;

	if (!OidIsValid(relid))
		relid = dp_catalog_relation(name);	/* which says what is wrong */
	rel = table_open(relid, AccessShareLock);
	desc = RelationGetDescr(rel);
	if (desc->natts < n_columns || TupleDescAttr(desc, 0)->atttypid != REGCLASSOID ||
		(n_columns > 1 && TupleDescAttr(desc, 1)->atttypid != TEXTOID))
		(void) dp_catalog_relation(name);
	return rel;
}

static Oid
own_index(const char *name)
{
	Oid			index = get_relname_relid(name, get_namespace_oid("dataprotect", false));

	return OidIsValid(index) ? index : dp_catalog_relation(name);
}

/* Is there a row for this relation in one of our tables? */
static bool
has_row(const char *table, const char *index, Oid relid, const char *key)
{
	Relation	rel = open_own(table, key != NULL ? 2 : 1);
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&keys[0], Anum_hidden_rel, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	if (key != NULL)
	{
		ScanKeyInit(&keys[1], Anum_hidden_key, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(key));
		keys[1].sk_collation = C_COLLATION_OID;
	}
	scan = systable_beginscan(rel, own_index(index), true, NULL, key != NULL ? 2 : 1, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* The primary key of a relation, deferrable or not; no columns where it has none. */
static void
read_key(Oid relid, Hidden *hidden)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	hidden->n_keys = 0;
	foreach(lc, indexes)
	{
		Relation	key = index_open(lfirst_oid(lc), AccessShareLock);

		if (key->rd_index->indisprimary)
		{
			hidden->n_keys = IndexRelationGetNumberOfKeyAttributes(key);
			for (int i = 0; i < hidden->n_keys; i++)
				hidden->keys[i] = key->rd_index->indkey.values[i];
		}
		index_close(key, AccessShareLock);
	}
	list_free(indexes);
	relation_close(rel, AccessShareLock);
}

/* Whose rows are noted for a relation, and how they are known. */
static void
read_hidden(Oid relid, Hidden *out)
{
	memset(out, 0, sizeof(Hidden));
	out->relid = out->top = relid;
	/* one that is being detached is a partition still, to which its ancestors are not listed */
	while (get_rel_relispartition(out->top))
		out->top = get_partition_parent(out->top, true);
	if (!has_row("hidden_table", "hidden_table_pkey", out->top, NULL))
		out->top = InvalidOid;
	else
		read_key(relid, out);
}

/*
 * False where no row of the relation can be hidden.  What is known is given by
 * value: whatever the caller does next may have it forgotten.
 */
static bool
look_up(Oid relid, Hidden *out)
{
	Oid			schema;
	Oid			table;
	Hidden	   *entry;

	/* tables of ours are never known */
	if (likely(is_settled && known != NULL && !creating_extension) &&
		(entry = hash_search(known, &relid, HASH_FIND, NULL)) != NULL)
	{
		*out = *entry;
		return OidIsValid(out->top);
	}
	schema = get_namespace_oid("dataprotect", true);
	table = OidIsValid(schema) ? get_relname_relid("hidden_table", schema) : InvalidOid;
	/* our own tables are under no account, and are not all there while they are made */
	if (creating_extension || !OidIsValid(table) || get_rel_namespace(relid) == schema || !dp_catalog_is_there())
		return false;
	if (known != NULL && watched != table)
	{
		hash_destroy(known);
		known = NULL;
	}
	entry = known != NULL ? hash_search(known, &relid, HASH_FIND, NULL) : NULL;
	if (entry != NULL)
	{
		*out = *entry;
		is_settled = true;
	}
	else
	{
		uint64		before = invalidations;

		read_hidden(relid, out);
		if (known == NULL)
		{
			HASHCTL		info = {.keysize = sizeof(Oid),.entrysize = sizeof(Hidden)};

			known = hash_create("tables with hidden rows", 64, &info, HASH_ELEM | HASH_BLOBS);
			watched = table;
		}
		/* what was read may have changed while it was: then it is not kept */
		if (before == invalidations)
		{
			entry = hash_search(known, &relid, HASH_ENTER, NULL);
			*entry = *out;
			is_settled = true;
		}
	}
	return OidIsValid(out->top);
}

/* Where rows are about to be told apart: by what? */
static void
require_key(const Hidden *hidden)
{
	if (hidden->n_keys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has hidden rows, and no primary key to know them by", get_rel_name(hidden->relid)),
				 errdetail("Their accounts are being deleted."),
				 errhint("Add the primary key again that it had.")));
}

static bool
sees_everything(Oid role)
{
	return superuser_arg(role) || has_bypassrls_privilege(role);
}

/*
 * A foreign key that is added asks by one query, as its table's owner, whether all rows
 * satisfy it.  Without leave to it goes through them one by one, with queries that are
 * known to be its own.
 */
static bool
permits(DP_CHECK_PERMS_PARAMS)
{
	ListCell   *lc;

	if (ereport_on_violation)
		return true;
	foreach(lc, rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		Hidden		hidden;

		if (rte->rtekind == RTE_RELATION && look_up(rte->relid, &hidden))
			return false;
	}
	return true;
}

/* dataprotect._row_shown(top, key, ..) over the relation at this place in the query */
static Expr *
make_condition(const Hidden *hidden, Index rti, Oid function)
{
	List	   *args = list_make1(makeConst(OIDOID, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(hidden->top), false, true));
	FuncExpr   *call;

	for (int i = 0; i < hidden->n_keys; i++)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(hidden->relid, hidden->keys[i], &type, &typmod, &collation);
		args = lappend(args, makeVar(rti, hidden->keys[i], type, typmod, collation, 0));
	}
	call = makeFuncExpr(function, BOOLOID, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	call->location = OWN_LOCATION;
	return (Expr *) call;
}

static bool
is_ours(Node *qual, Oid function)
{
	return IsA(qual, List) && list_length((List *) qual) == 1 && IsA(linitial((List *) qual), FuncExpr) &&
		linitial_node(FuncExpr, (List *) qual)->funcid == function;
}

static Oid
row_shown(void)
{
	static const Oid types[2] = {OIDOID, ANYOID};

	return LookupFuncName(list_make2(makeString("dataprotect"), makeString("_row_shown")), 2, types, false);
}

/*
 * A member of a table that is read whole has its parent's condition; one of a UNION
 * ALL that was flattened has none but its own.
 */
static bool
has_parents_condition(PlannerInfo *root, const RelOptInfo *rel)
{
	AppendRelInfo *member;

	if (rel->reloptkind != RELOPT_OTHER_MEMBER_REL)
		return rel->reloptkind != RELOPT_BASEREL;
	member = root->append_rel_array != NULL ? root->append_rel_array[rel->relid] : NULL;
	return member != NULL && planner_rt_fetch(member->parent_relid, root)->rtekind == RTE_RELATION;
}

/*
 * The planner has read a relation of the query, and looks at row security next: that
 * is what the condition is put among, first, in the form that these are in by now.
 * Parallel workers would not know the call for one of ours.
 */
static void
relation_info(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	Hidden		hidden;
	Oid			function;
	ListCell   *lc;

	if (IsCatalogRelationOid(relid) || has_parents_condition(root, rel))
		return;
	if (!look_up(relid, &hidden) || dp_own_statement() || dp_run_as_plans() || dp_frame->is_ri)
		return;
	require_key(&hidden);
	if (root->glob->maxParallelHazard == PROPARALLEL_SAFE)
		root->glob->maxParallelHazard = PROPARALLEL_RESTRICTED;
	function = row_shown();
	foreach(lc, rte->securityQuals)
	{
		if (is_ours(lfirst(lc), function))
			return;
	}
	rte->securityQuals = lcons(list_make1(make_condition(&hidden, rel->relid, function)), rte->securityQuals);
	root->qual_security_level = Max(root->qual_security_level, list_length(rte->securityQuals));
}

/*
 * ON CONFLICT DO UPDATE finds its row without reading the table as a query does: a
 * hidden one is neither changed nor returned.
 */
static void
planning(Query *query, const char *source)
{
	ListCell   *lc;
	Hidden		hidden;
	Expr	   *condition;

	foreach(lc, query->cteList)
	{
		if (IsA(lfirst_node(CommonTableExpr, lc)->ctequery, Query))
			planning((Query *) lfirst_node(CommonTableExpr, lc)->ctequery, source);
	}
	if (query->onConflict == NULL || query->onConflict->action != ONCONFLICT_UPDATE ||
		!look_up(rt_fetch(query->resultRelation, query->rtable)->relid, &hidden))
		return;
	require_key(&hidden);
	condition = make_condition(&hidden, query->resultRelation, row_shown());
	query->onConflict->onConflictWhere = query->onConflict->onConflictWhere == NULL ? (Node *) condition :
		(Node *) makeBoolExpr(AND_EXPR, list_make2(condition, query->onConflict->onConflictWhere), -1);
}

/* COPY of a table reads it without a query. */
static void
begin_utility(const DpUtility *utility, Datum *state)
{
	CopyStmt   *copy = (CopyStmt *) utility->statement;
	Hidden		hidden;
	Oid			relid;

	if (!IsA(copy, CopyStmt) || copy->is_from || copy->relation == NULL || sees_everything(GetUserId()))
		return;
	relid = RangeVarGetRelid(copy->relation, NoLock, true);
	if (!OidIsValid(relid) || !look_up(relid, &hidden) || !has_row("hidden_row", "hidden_row_pkey", hidden.top, NULL) ||
		(!row_security && has_privs_of_role(GetUserId(), dp_run_as_owner(relid))))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("cannot copy table \"%s\", of which rows are hidden", get_rel_name(relid)),
			 errdetail("Their accounts are being deleted."),
			 errhint("Copy a query. Backups that its owner makes set row_security to off.")));
}

/* TRUNCATE asks no row, and would take hidden ones from accounts that may still come back. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	Hidden		hidden;

	if (access != OAT_TRUNCATE || class_id != RelationRelationId || sees_everything(GetUserId()) ||
		!look_up(object_id, &hidden) || !has_row("hidden_row", "hidden_row_pkey", hidden.top, NULL))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("cannot truncate table \"%s\", of which rows are hidden", get_rel_name(object_id)),
			 errdetail("Their accounts are being deleted, and may still come back."),
			 errhint("Delete the rows that are shown.")));
}

/* As our own statements write a value, whatever the session's DateStyle is. */
static char *
value_text(Oid type, Datum value)
{
	int			style = DateStyle;
	char	   *volatile text_of = NULL;
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(type, &output, &varlena);
	if (type != DATEOID && type != TIMESTAMPOID)
		return OidOutputFunctionCall(output, value);
	DateStyle = USE_ISO_DATES;
	PG_TRY();
	{
		text_of = OidOutputFunctionCall(output, value);
	}
	PG_FINALLY();
	{
		DateStyle = style;
	}
	PG_END_TRY();
	return text_of;
}

/* What a row is known by: length and text of each value. */
static char *
key_text(FunctionCallInfo fcinfo)
{
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 1; i < PG_NARGS(); i++)
	{
		char	   *value;

		if (PG_ARGISNULL(i))
			return NULL;
		value = value_text(getBaseType(get_fn_expr_argtype(fcinfo->flinfo, i)), PG_GETARG_DATUM(i));
		appendStringInfo(&key, "%s%zu:%s", i > 1 ? "," : "", strlen(value), value);
	}
	return key.data;
}

/* Of one execution of a query: the hidden rows of a table, by hashes of their keys. */
typedef struct Shown
{
	int			asked;
	HTAB	   *hashes;			/* NULL: not read yet */
} Shown;

static uint64
hash_key(const char *key)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) key, strlen(key), 0));
}

static HTAB *
read_hashes(Oid top, MemoryContext context)
{
	HASHCTL		info = {.keysize = sizeof(uint64),.entrysize = sizeof(uint64),.hcxt = context};
	HTAB	   *hashes = hash_create("hidden rows", 1024, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	Relation	rel = open_own("hidden_row", 2);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_hidden_rel, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(top));
	scan = systable_beginscan(rel, own_index("hidden_row_pkey"), true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_hidden_key, RelationGetDescr(rel), &isnull);
		char	   *key_of = TextDatumGetCString(value);
		uint64		hash = hash_key(key_of);

		(void) hash_search(hashes, &hash, HASH_ENTER, NULL);
		pfree(key_of);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return hashes;
}

/* dataprotect._row_shown(top oid, VARIADIC "any") returns bool */
Datum
dp_lifecycle_row_shown(PG_FUNCTION_ARGS)
{
	FuncExpr   *call = (FuncExpr *) fcinfo->flinfo->fn_expr;
	Shown	   *shown = fcinfo->flinfo->fn_extra;
	Oid			top;
	char	   *key;
	uint64		hash;

	if (call == NULL || !IsA(call, FuncExpr) || call->location != OWN_LOCATION)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function \"%s\" is called by the planner's own conditions alone", "_row_shown")));
	if (shown == NULL)
		fcinfo->flinfo->fn_extra = shown = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Shown));
	top = PG_GETARG_OID(0);
	if (shown->asked == ASK_FIRST && shown->hashes == NULL)
		shown->hashes = read_hashes(top, fcinfo->flinfo->fn_mcxt);
	else if (shown->hashes == NULL)
		shown->asked++;
	if (shown->hashes != NULL && hash_get_num_entries(shown->hashes) == 0)
		PG_RETURN_BOOL(true);
	key = key_text(fcinfo);
	if (key == NULL)
		PG_RETURN_BOOL(true);
	hash = hash_key(key);
	if ((shown->hashes != NULL && hash_search(shown->hashes, &hash, HASH_FIND, NULL) == NULL) ||
		!has_row("hidden_row", "hidden_row_pkey", top, key) || sees_everything(GetUserId()))
		PG_RETURN_BOOL(true);
	if (!row_security)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("query would be affected by hidden rows of table \"%s\"", get_rel_name(top)),
				 errdetail("Their accounts are being deleted, and row_security is off.")));
	PG_RETURN_BOOL(false);
}

/*
 * Trigger on hidden_table, for each row: plans of the table, and what every backend
 * knows of any, are of no use any more.
 */
Datum
dp_lifecycle_hidden_table_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	row;
	ListCell   *lc;
	bool		isnull;
	Oid			relid;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a row trigger", "_hidden_table_changed")));
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	relid = DatumGetObjectId(heap_getattr(row, Anum_hidden_rel, RelationGetDescr(trigger->tg_relation), &isnull));
	CacheInvalidateRelcache(trigger->tg_relation);
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(lc))))
			CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	}
	return PointerGetDatum(NULL);
}

static const DpSubscriber subscriber = {
	.name = "hidden rows",
	.planning = planning,
	.relation_info = relation_info,
	.permits = permits,
	.begin_utility = begin_utility,
	.object_access = object_access,
};

void
dp_hidden_row_init(void)
{
	dp_on_relation_change(relation_invalidated);
	dp_on_cache_change(NAMESPACEOID, unsettle);
	dp_on_cache_change(AUTHOID, unsettle);
	dp_statement_subscribe(&subscriber);
}
