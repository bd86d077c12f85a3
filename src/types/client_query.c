/*
 * client_query.c
 *	  Is it a client's query that is analysed?  See client_query.h.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/statement.h"
#include "commands/prepare.h"
#include "libpq/libpq.h"
#include "parser/parse_node.h"
#include "tcop/tcopprot.h"
#include "types/client_query.h"
#include "utils/plancache.h"

/* An entry of the plan cache lies in the first kB of its context, which has no less. */
#define ENTRY_WITHIN	(1024 - sizeof(CachedPlanSource))

/* The prepared statement that EXECUTE runs, or NULL. */
static CachedPlanSource *executing = NULL;

/*
 * Texts are told apart by their places: nothing else lies where the client's own
 * does.
 */
DpQueryOrigin
dp_client_query_origin(ParseState *pstate)
{
	const char *text = pstate->p_sourcetext;

	if (whereToSendOutput != DestRemote || text == NULL)
		return DP_QUERY_OF_CODE;
	if (executing != NULL && executing->query_string == text)
		return DP_QUERY_OF_PLAN_CACHE;
	if (!DP_IN_STATEMENT())
	{
		/* Parse and simple queries set the text, Bind that and a context, Describe neither. */
		if (debug_query_string == text)
			return error_context_stack == NULL ? DP_QUERY_OF_CLIENT : DP_QUERY_OF_PLAN_CACHE;
		return debug_query_string == NULL && error_context_stack == NULL ? DP_QUERY_OF_PLAN_CACHE : DP_QUERY_OF_CODE;
	}
	/* the command's own query: not one that it causes to run */
	if (dp_frame->utility != NULL && error_context_stack == dp_frame->error_context &&
		(IsA(dp_frame->utility, PrepareStmt) || IsA(dp_frame->utility, ExplainStmt)))
		return DP_QUERY_OF_CLIENT;
	return DP_QUERY_OF_CODE;
}

/*
 * Nothing leads from a text to its entry but the memory context that the entry has
 * for itself, bears the text as its name, and begins with the entry (plancache.c,
 * CreateCachedPlan).
 */
CachedPlanSource *
dp_client_query_entry(const char *text)
{
	MemoryContext context;
	char	   *place;

	if (executing != NULL && executing->query_string == text)
		return executing;
	for (context = CacheMemoryContext->firstchild; context != NULL; context = context->nextchild)
		if (context->ident == text)
			break;
	if (context == NULL)
		return NULL;
	for (place = (char *) context; place < (char *) context + ENTRY_WITHIN; place += MAXIMUM_ALIGNOF)
	{
		CachedPlanSource *entry = (CachedPlanSource *) place;

		if (entry->magic == CACHEDPLANSOURCE_MAGIC && entry->context == context &&
			entry->query_string == text)
			return entry;
	}
	return NULL;
}

/* The command that EXPLAIN is about. */
static Node *
explained(Node *statement)
{
	if (IsA(statement, ExplainStmt) && castNode(Query, ((ExplainStmt *) statement)->query)->utilityStmt != NULL)
		return ((Query *) ((ExplainStmt *) statement)->query)->utilityStmt;
	return statement;
}

CachedPlanSource *
dp_client_query_prepared(Node *statement, bool *stores)
{
	PreparedStatement *prepared;

	statement = explained(statement);
	*stores = IsA(statement, CreateTableAsStmt);
	if (*stores)
		statement = castNode(Query, ((CreateTableAsStmt *) statement)->query)->utilityStmt;
	if (statement == NULL || !IsA(statement, ExecuteStmt))
		return NULL;
	prepared = FetchPreparedStatement(((ExecuteStmt *) statement)->name, false);
	return prepared != NULL ? prepared->plansource : NULL;
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	bool		stores;
	CachedPlanSource *prepared = dp_client_query_prepared(utility->statement, &stores);

	*state = PointerGetDatum(executing);
	if (prepared != NULL)
		executing = prepared;
}

static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	executing = (CachedPlanSource *) DatumGetPointer(state);
}

static const DpSubscriber subscriber = {
	.name = "queries of clients",
	.begin_utility = begin_utility,
	.end_utility = end_utility,
};

void
dp_client_query_init(void)
{
	dp_statement_subscribe(&subscriber);
}
