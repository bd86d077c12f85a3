/*
 * compat.h
 *	  Every difference between the PostgreSQL versions that we build on.
 *
 * No other file tests PG_VERSION_NUM (lint checks it).
 */
#ifndef DP_BASE_COMPAT_H
#define DP_BASE_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "dataprotect needs PostgreSQL 15 or newer"
#endif
/* Key ids, counters and times are passed as Datums without a copy on the heap. */
#if SIZEOF_VOID_P != 8 || !defined(USE_FLOAT8_BYVAL)
#error "dataprotect needs a 64-bit PostgreSQL"
#endif

/*
 * Debian builds the server with GSSAPI and its development package does not
 * bring GSSAPI's headers.  Port has the same layout either way, for this reason.
 */
#ifdef ENABLE_GSS
#undef ENABLE_GSS
#include "libpq/libpq-be.h"
#define ENABLE_GSS 1
#else
#include "libpq/libpq-be.h"
#endif
#include "catalog/pg_attrdef.h"
#include "commands/vacuum.h"
#include "common/jsonapi.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "optimizer/paths.h"
#include "parser/parse_type.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"	/* ExplainProperty... */
#include "commands/explain_state.h"
#else
#include "commands/explain.h"
#endif
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#include "parser/parse_relation.h"
#include "varatt.h"				/* was part of postgres.h */
#endif

/* The i-th (from 1) of the backends that this transaction knows; NULL where it is gone. */
static inline LocalPgBackendStatus *
dp_local_backend_status(int i)
{
#if PG_VERSION_NUM >= 160000
	return pgstat_get_local_beentry_by_index(i);
#else
	return pgstat_fetch_stat_local_beentry(i);
#endif
}

/*
 * The columns that a range table entry reads (attribute numbers offset by
 * FirstLowInvalidHeapAttributeNumber); NULL where it reads none.
 * perminfos: Query.rteperminfos or PlannedStmt.permInfos (16 and newer),
 * ignored before.
 */
static inline Bitmapset *
dp_rte_selected_cols(RangeTblEntry *rte, List *perminfos)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0 || perminfos == NIL)
		return NULL;
	return ((RTEPermissionInfo *) list_nth(perminfos, rte->perminfoindex - 1))->selectedCols;
#else
	return rte->selectedCols;
#endif
}

/* The columns that a statement assigns to in an UPDATE, likewise. */
static inline Bitmapset *
dp_rte_updated_cols(RangeTblEntry *rte, List *perminfos)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0 || perminfos == NIL)
		return NULL;
	return ((RTEPermissionInfo *) list_nth(perminfos, rte->perminfoindex - 1))->updatedCols;
#else
	return rte->updatedCols;
#endif
}

/* The role whose privileges on an entry's relation are checked; invalid: the current one. */
static inline Oid
dp_rte_check_as_user(RangeTblEntry *rte, List *perminfos)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0 || perminfos == NIL)
		return InvalidOid;
	return ((RTEPermissionInfo *) list_nth(perminfos, rte->perminfoindex - 1))->checkAsUser;
#else
	return rte->checkAsUser;
#endif
}

/*
 * The view that a subquery of a rewritten query stands for; InvalidOid: a subquery
 * that was written as one.  Before 16, the view is the first entry of its range table.
 */
static inline Oid
dp_view_of_subquery(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return rte->relid;
#else
	RangeTblEntry *first = rte->subquery->rtable != NIL ? linitial_node(RangeTblEntry, rte->subquery->rtable) : NULL;

	return first != NULL && first->rtekind == RTE_RELATION && first->relkind == RELKIND_VIEW ? first->relid : InvalidOid;
#endif
}

static inline List *
dp_plannedstmt_perminfos(PlannedStmt *stmt)
{
#if PG_VERSION_NUM >= 160000
	return stmt->permInfos;
#else
	return NIL;
#endif
}

/* The expression of a column's default, or of a generated column. */
static inline void
dp_store_default(Relation rel, AttrNumber attnum, Node *expr)
{
#if PG_VERSION_NUM >= 180000
	(void) StoreAttrDefault(rel, attnum, expr, true);
#else
	(void) StoreAttrDefault(rel, attnum, expr, true, false);
#endif
}

/* Since 18 there is reverse(bytea) beside reverse(text). */
#if PG_VERSION_NUM < 180000
#define F_REVERSE_TEXT F_REVERSE
#endif

/* Is a key constraint one over periods (WITHOUT OVERLAPS)? */
static inline bool
dp_constraint_of_periods(const Constraint *constraint)
{
#if PG_VERSION_NUM >= 180000
	return constraint->without_overlaps;
#else
	return false;
#endif
}

static inline List *
dp_query_perminfos(Query *query)
{
#if PG_VERSION_NUM >= 160000
	return query->rteperminfos;
#else
	return NIL;
#endif
}

/* Since 18 a sort clause says by itself which way its operator goes. */
static inline void
dp_sort_clause_set_descending(SortGroupClause *clause, bool descending)
{
#if PG_VERSION_NUM >= 180000
	clause->reverse_sort = descending;
#endif
}

/* Nothing is left in the query's range table. */
static inline void
dp_query_clear_rtable(Query *query)
{
	query->rtable = NIL;
#if PG_VERSION_NUM >= 160000
	query->rteperminfos = NIL;
#endif
}

/* ExecutorCheckPerms_hook's arguments, and one permission that a statement needs. */
#if PG_VERSION_NUM >= 160000
#define DP_CHECK_PERMS_PARAMS	List *rtable, List *perminfos, bool ereport_on_violation
#define DP_CHECK_PERMS_ARGS	rtable, perminfos, ereport_on_violation
#define DP_CHECK_PERMS_INFOS	perminfos
#else
#define DP_CHECK_PERMS_PARAMS	List *rtable, bool ereport_on_violation
#define DP_CHECK_PERMS_ARGS	rtable, ereport_on_violation
#define DP_CHECK_PERMS_INFOS	NIL
#endif

typedef struct DpPermission
{
	Oid			relid;
	AclMode		required;
	Oid			role;			/* InvalidOid: the current one */
} DpPermission;

/* The next from position *i on; false where there is none. */
static inline bool
dp_next_permission(List *rtable, List *perminfos, int *i, DpPermission *permission)
{
#if PG_VERSION_NUM >= 160000
	if (*i < list_length(perminfos))
	{
		RTEPermissionInfo *info = (RTEPermissionInfo *) list_nth(perminfos, (*i)++);

		*permission = (DpPermission)
		{
			info->relid, info->requiredPerms, info->checkAsUser
		};
		return true;
	}
#else
	while (*i < list_length(rtable))
	{
		RangeTblEntry *rte = (RangeTblEntry *) list_nth(rtable, (*i)++);

		if (rte->rtekind != RTE_RELATION)
			continue;
		*permission = (DpPermission)
		{
			rte->relid, rte->requiredPerms, rte->checkAsUser
		};
		return true;
	}
#endif
	return false;
}

/* Before a declaration; 18 brought it in place of pg_attribute_noreturn(). */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

/* A wait event set that the caller frees. */
static inline WaitEventSet *
dp_create_wait_event_set(int n_events)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, n_events);
#else
	return CreateWaitEventSet(CurrentMemoryContext, n_events);
#endif
}

/*
 * True for a relation whose privileges this statement itself needs: the table
 * that was named, not a partition or child reached through it.
 */
static inline bool
dp_rte_is_named(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return rte->perminfoindex != 0;
#else
	return rte->requiredPerms != 0;
#endif
}

/* What the client authenticated as (user of the KDC, certificate, peer), or NULL. */
static inline const char *
dp_authn_id(void)
{
#if PG_VERSION_NUM >= 160000
	return MyClientConnectionInfo.authn_id;
#else
	return MyProcPort ? MyProcPort->authn_id : NULL;
#endif
}

#include "pgstat.h"
#include "storage/proc.h"
#include "utils/backend_status.h"

/* Whether the connection of a parallel worker's leader is encrypted by TLS. */
static inline bool
dp_leader_is_encrypted(void)
{
	PGPROC	   *leader = MyProc->lockGroupLeader;
	PgBackendStatus *status;

	if (leader == NULL)
		return false;
#if PG_VERSION_NUM >= 170000
	status = pgstat_get_beentry_by_proc_number(GetNumberFromPGProc(leader));
#elif PG_VERSION_NUM >= 160000
	status = pgstat_get_beentry_by_backend_id(leader->backendId);
#else
	status = pgstat_fetch_stat_beentry(leader->backendId);
#endif
	return status != NULL && status->st_procpid == leader->pid && status->st_ssl;
}

/* ExecutorRun's arguments after the direction. */
#if PG_VERSION_NUM >= 180000
#define DP_EXECUTOR_RUN_PARAMS	uint64 count
#define DP_EXECUTOR_RUN_ARGS	count
#else
#define DP_EXECUTOR_RUN_PARAMS	uint64 count, bool execute_once
#define DP_EXECUTOR_RUN_ARGS	count, execute_once
#endif

static inline void
dp_vacuum_delay_point(void)
{
#if PG_VERSION_NUM >= 180000
	vacuum_delay_point(true);
#else
	vacuum_delay_point();
#endif
}

/* All of a portal's rows, as a top-level statement. */
#define dp_portal_run_all(portal, receiver, completion) \
	PortalRun(portal, FETCH_ALL, true, DP_PORTAL_RUN_ONCE receiver, receiver, completion)
#if PG_VERSION_NUM >= 180000
#define DP_PORTAL_RUN_ONCE
#else
#define DP_PORTAL_RUN_ONCE		true,
#endif

/* SQL/JSON constructors and queries, which take values of any type. */
static inline bool
dp_node_is_json(Node *node)
{
#if PG_VERSION_NUM >= 170000
	if (IsA(node, JsonExpr))
		return true;
#endif
#if PG_VERSION_NUM >= 160000
	return IsA(node, JsonConstructorExpr) || IsA(node, JsonValueExpr) ||
		IsA(node, JsonIsPredicate);
#else
	return false;
#endif
}

/* Functions that make a value of a type, and do not return it: of one that a text names, of a row. */
static inline bool
dp_function_tries_type(Oid function)
{
#if PG_VERSION_NUM >= 160000
	return function == F_PG_INPUT_IS_VALID || function == F_PG_INPUT_ERROR_INFO;
#else
	return false;
#endif
}

/* What a name of a type stands for, or InvalidOid. */
static inline Oid
dp_type_named(const char *name)
{
	Oid			type = InvalidOid;
#if PG_VERSION_NUM >= 160000
	ErrorSaveContext context = {T_ErrorSaveContext};
	int32		typmod;

	if (!parseTypeString(name, &type, &typmod, (Node *) &context))
		type = InvalidOid;
#endif
	return type;
}

static inline bool
dp_function_tries_row(Oid function)
{
#if PG_VERSION_NUM >= 170000
	return function == F_JSONB_POPULATE_RECORD_VALID;
#else
	return false;
#endif
}

/* What a query is grouped by, where that is an entry of its range table. */
static inline List *
dp_rte_group_exprs(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 180000
	if (rte->rtekind == RTE_GROUP)
		return rte->groupexprs;
#endif
	return NIL;
}

/* Names and values, in turn, of a SQL/JSON object constructor; else NIL. */
static inline List *
dp_json_object_args(Node *node)
{
#if PG_VERSION_NUM >= 160000
	if (IsA(node, JsonConstructorExpr) && ((JsonConstructorExpr *) node)->type == JSCTOR_JSON_OBJECT)
		return ((JsonConstructorExpr *) node)->args;
#endif
	return NIL;
}

/* Where a partition has the columns of its parent elsewhere; NULL where it has not. */
static inline TupleConversionMap *
dp_root_to_partition_map(ResultRelInfo *partition, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecGetRootToChildMap(partition, estate);
#else
	return partition->ri_RootToPartitionMap;
#endif
}

/* The path keys of an order by one expression; NIL where nobody asks for it. */
static inline List *
dp_expression_pathkey(PlannerInfo *root, Expr *expr, Oid operator, Relids relids)
{
#if PG_VERSION_NUM >= 160000
	return build_expression_pathkey(root, expr, operator, relids, false);
#else
	return build_expression_pathkey(root, expr, NULL, operator, relids, false);
#endif
}

/* Index entries of a row that was just inserted. */
static inline List *
dp_insert_index_tuples(ResultRelInfo *relation, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(relation, slot, estate, false, false, NULL, NIL, false);
#else
	return ExecInsertIndexTuples(relation, slot, estate, false, false, NULL, NIL);
#endif
}

/*
 * JSON parser actions return a result from 16 on.  They end by one of these; a
 * parse that is stopped fails.
 */
#if PG_VERSION_NUM >= 160000
typedef JsonParseErrorType DpJsonResult;
#define DP_JSON_GO_ON		return JSON_SUCCESS
#define DP_JSON_STOP(lex)	return JSON_SEM_ACTION_FAILED
#else
typedef void DpJsonResult;
#define DP_JSON_GO_ON		return
/* Where the input ends inside an object, array or member, it is no JSON. */
#define DP_JSON_STOP(lex)	do { (lex)->input_length = 0; return; } while (0)
#endif

/*
 * A lexer over UTF-8 whose strval holds the unescaped string that it stands on.
 * text[len] must be a NUL.  strval never moves, so that dp_json_end wipes it all.
 */
static inline JsonLexContext *
dp_json_begin(char *text, size_t len)
{
	JsonLexContext *lex;

#if PG_VERSION_NUM >= 170000
	lex = makeJsonLexContextCstringLen(NULL, text, len, PG_UTF8, true);
#else
	lex = makeJsonLexContextCstringLen(text, (int) len, PG_UTF8, true);
#endif
	enlargeStringInfo(lex->strval, (int) len + 1);
	return lex;
}

static inline void
dp_json_end(JsonLexContext *lex)
{
	explicit_bzero(lex->strval->data, lex->strval->maxlen);
#if PG_VERSION_NUM >= 170000
	freeJsonLexContext(lex);
#else
	pfree(lex->strval->data);
	pfree(lex->strval);
	pfree(lex);
#endif
}

/*
 * The range table of an executor state with one relation in it, whose one
 * column (number offset as in a bitmapset of columns) is updated.
 */
static inline void
dp_init_range_table(EState *estate, RangeTblEntry *rte, Bitmapset *updated_columns)
{
#if PG_VERSION_NUM >= 160000
	List	   *perminfos = NIL;
	RTEPermissionInfo *perminfo = addRTEPermissionInfo(&perminfos, rte);

	perminfo->updatedCols = updated_columns;
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, list_make1(rte), perminfos, bms_make_singleton(1));
#else
	ExecInitRangeTable(estate, list_make1(rte), perminfos);
#endif
#else
	rte->updatedCols = updated_columns;
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

/* State for re-checking rows that changed meanwhile, for one relation without a plan. */
static inline void
dp_init_eval_plan_qual(EPQState *epq, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	EvalPlanQualInit(epq, estate, NULL, NIL, -1, NIL);
#else
	EvalPlanQualInit(epq, estate, NULL, NIL, -1);
#endif
}

/* One of PostgreSQL's own settings; NULL where there is no boolean of that name. */
static inline struct config_bool *
dp_guc_find_bool(const char *name)
{
#if PG_VERSION_NUM >= 160000
	struct config_generic *found = find_option(name, false, true, LOG);

	return found != NULL && found->vartype == PGC_BOOL ? (struct config_bool *) found : NULL;
#else
	struct config_generic **all = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (all[i]->vartype == PGC_BOOL && strcmp(all[i]->name, name) == 0)
			return (struct config_bool *) all[i];
	return NULL;
#endif
}

#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_tablespace.h"
#include "utils/acl.h"

/* What DROP, RENAME and SET TABLESPACE of a database ask of the current role. */
static inline bool
dp_owns_database(Oid database)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, GetUserId());
#else
	return pg_database_ownercheck(database, GetUserId());
#endif
}

static inline bool
dp_may_create_in_tablespace(Oid tablespace)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(TableSpaceRelationId, tablespace, GetUserId(), ACL_CREATE) == ACLCHECK_OK;
#else
	return pg_tablespace_aclcheck(tablespace, GetUserId(), ACL_CREATE) == ACLCHECK_OK;
#endif
}

/* May the current role call a function? */
static inline bool
dp_may_execute(Oid function)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/* Blocks of a relation that this transaction asked for, as pg_statio_* will show. */
typedef struct DpBlockCounts
{
	int64		fetched;
	int64		hit;
} DpBlockCounts;

#if PG_VERSION_NUM >= 160000
#define DP_BLOCKS_FETCHED(status) ((status)->counts.blocks_fetched)
#define DP_BLOCKS_HIT(status) ((status)->counts.blocks_hit)
#else
#define DP_BLOCKS_FETCHED(status) ((status)->t_counts.t_blocks_fetched)
#define DP_BLOCKS_HIT(status) ((status)->t_counts.t_blocks_hit)
#endif

static inline DpBlockCounts
dp_block_counts(Relation rel)
{
	DpBlockCounts counts = {0, 0};

	if (rel->pgstat_info != NULL)
	{
		counts.fetched = DP_BLOCKS_FETCHED(rel->pgstat_info);
		counts.hit = DP_BLOCKS_HIT(rel->pgstat_info);
	}
	return counts;
}

static inline void
dp_set_block_counts(Relation rel, DpBlockCounts counts)
{
	if (rel->pgstat_info != NULL)
	{
		DP_BLOCKS_FETCHED(rel->pgstat_info) = counts.fetched;
		DP_BLOCKS_HIT(rel->pgstat_info) = counts.hit;
	}
}

/* For a signal to a process that is known by its id alone. */
#if PG_VERSION_NUM >= 170000
#include "storage/procnumber.h"
#define DP_NO_PROC_NUMBER INVALID_PROC_NUMBER
#else
#include "storage/backendid.h"
#define DP_NO_PROC_NUMBER InvalidBackendId
#endif

#include "utils/lsyscache.h"

/* Is an operator one of the comparisons of some btree operator family, or "<>"? */
static inline bool
dp_is_btree_comparison(Oid opno)
{
#if PG_VERSION_NUM >= 180000
	return get_op_index_interpretation(opno) != NIL;
#else
	return get_op_btree_interpretation(opno) != NIL;
#endif
}

/* A connection to the primary for SQL; replication/walreceiver.h is included by the caller. */
#if PG_VERSION_NUM >= 170000
#define dp_walrcv_connect_sql(conninfo, name, err) walrcv_connect(conninfo, false, false, false, name, err)
#elif PG_VERSION_NUM >= 160000
#define dp_walrcv_connect_sql(conninfo, name, err) walrcv_connect(conninfo, true, false, name, err)
#else
#define dp_walrcv_connect_sql(conninfo, name, err) walrcv_connect(conninfo, true, name, err)
#endif

#endif							/* DP_BASE_COMPAT_H */
