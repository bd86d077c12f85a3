/*
 * cursor_query.c
 *	  FETCH as a query; see cursor_query.h.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/tstoreReceiver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "types/client_type.h"
#include "types/cursor_query.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dp_cursor_fetch);

static bool
has_encrypted_columns(TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		int32		typmod = TupleDescAttr(desc, i)->atttypmod;
		bool		is_array;

		if (OidIsValid(dp_client_encrypted_type(TupleDescAttr(desc, i)->atttypid, &typmod, &is_array)))
			return true;
	}
	return false;
}

/*
 * Known to this session's own calls alone: in an expression that somebody stored, the
 * function would read cursors of whoever evaluates it.
 */
static int64
secret(void)
{
	static int64 number = 0;

	while (number == 0)
	{
		if (!pg_strong_random(&number, sizeof(number)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate a random number")));
	}
	return number;
}

/* The call of our function, or NULL in a database that does not have it. */
static Expr *
call_of_fetch(const FetchStmt *fetch)
{
	Oid			types[] = {TEXTOID, INT4OID, INT8OID, INT8OID};
	Oid			function = LookupFuncName(list_make2(makeString("dataprotect"), makeString("_fetch")), lengthof(types), types, true);
	FuncExpr   *call;

	if (!OidIsValid(function))
		return NULL;
	call = makeFuncExpr(function, RECORDOID,
						list_make4(makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum(fetch->portalname), false, false),
								   makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(fetch->direction), false, true),
								   makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(fetch->howMany), false, FLOAT8PASSBYVAL),
								   makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(secret()), false, FLOAT8PASSBYVAL)),
						InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	call->funcretset = true;
	return (Expr *) call;
}

static RangeTblEntry *
rows_of(TupleDesc desc, Expr *call)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblFunction *function = makeNode(RangeTblFunction);
	List	   *names = NIL;

	function->funcexpr = (Node *) call;
	function->funccolcount = desc->natts;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		names = lappend(names, makeString(pstrdup(NameStr(att->attname))));
		function->funccoltypes = lappend_oid(function->funccoltypes, att->atttypid);
		function->funccoltypmods = lappend_int(function->funccoltypmods, att->atttypmod);
		function->funccolcollations = lappend_oid(function->funccolcollations, att->attcollation);
	}
	function->funccolnames = names;
	rte->rtekind = RTE_FUNCTION;
	rte->functions = list_make1(function);
	rte->eref = makeAlias("cursor", copyObject(names));
	rte->inFromCl = true;
	return rte;
}

/* Clients are told which column of a table each is. */
static List *
columns_of(Portal portal)
{
	List	   *origins = FetchPortalTargetList(portal);
	List	   *tlist = NIL;

	for (int i = 0; i < portal->tupDesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(portal->tupDesc, i);
		TargetEntry *tle = makeTargetEntry((Expr *) makeVar(1, i + 1, att->atttypid, att->atttypmod, att->attcollation, 0),
										   i + 1, pstrdup(NameStr(att->attname)), false);
		ListCell   *lc;

		foreach(lc, origins)
		{
			TargetEntry *origin = lfirst_node(TargetEntry, lc);

			if (!origin->resjunk && origin->resno == i + 1)
			{
				tle->resorigtbl = origin->resorigtbl;
				tle->resorigcol = origin->resorigcol;
			}
		}
		tlist = lappend(tlist, tle);
	}
	return tlist;
}

Query *
dp_cursor_query(const Query *command)
{
	FetchStmt  *fetch = (FetchStmt *) command->utilityStmt;
	Portal		portal;
	Query	   *query;
	Expr	   *call;
	RangeTblRef *ref;

	if (!IsA(fetch, FetchStmt) || fetch->ismove)
		return NULL;
	portal = GetPortalByName(fetch->portalname);
	if (!PortalIsValid(portal) || portal->tupDesc == NULL || !has_encrypted_columns(portal->tupDesc))
		return NULL;
	call = call_of_fetch(fetch);
	if (call == NULL)
		return NULL;
	ref = makeNode(RangeTblRef);
	ref->rtindex = 1;
	query = makeNode(Query);
	query->commandType = CMD_SELECT;
	query->querySource = command->querySource;
	query->queryId = command->queryId;
	query->canSetTag = command->canSetTag;
	query->stmt_location = command->stmt_location;
	query->stmt_len = command->stmt_len;
	query->rtable = list_make1(rows_of(portal->tupDesc, call));
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	query->targetList = columns_of(portal);
	return query;
}

/*
 * dataprotect._fetch(cursor text, direction int4, number int8, secret int8) returns setof record
 *
 * FETCH, executed as the command that it is: what it refuses, it refuses here.  Called
 * by nobody but in place of that command.
 */
Datum
dp_cursor_fetch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext per_query;
	MemoryContext before;
	FetchStmt  *fetch = makeNode(FetchStmt);
	PlannedStmt *command = makeNode(PlannedStmt);
	DestReceiver *dest;
	Portal		portal;
	Tuplestorestate *store;
	TupleDesc	desc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	if (PG_GETARG_INT64(3) != secret())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s is called in place of FETCH only", "dataprotect._fetch()"),
				 errhint("Use the command FETCH.")));
	fetch->portalname = text_to_cstring(PG_GETARG_TEXT_PP(0));
	fetch->direction = (FetchDirection) PG_GETARG_INT32(1);
	fetch->howMany = (long) PG_GETARG_INT64(2);
	portal = GetPortalByName(fetch->portalname);
	if (!PortalIsValid(portal) || portal->tupDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_CURSOR),
				 errmsg("cursor \"%s\" does not exist", fetch->portalname)));
	command->commandType = CMD_UTILITY;
	command->canSetTag = true;
	command->utilityStmt = (Node *) fetch;
	command->stmt_location = -1;

	per_query = rsinfo->econtext->ecxt_per_query_memory;
	before = MemoryContextSwitchTo(per_query);
	desc = CreateTupleDescCopy(portal->tupDesc);
	store = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
	MemoryContextSwitchTo(before);
	dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(dest, store, per_query, false, NULL, NULL);
	ProcessUtility(command, "FETCH", false, PROCESS_UTILITY_QUERY, NULL, NULL, dest, NULL);
	dest->rDestroy(dest);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = store;
	rsinfo->setDesc = desc;
	return (Datum) 0;
}
