/*
 * statement.c
 *	  One chain for each of PostgreSQL's hooks, one stack of frames; see
 *	  statement.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/statement.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "libpq/auth.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define MAX_SUBSCRIBERS 64

/* One call of own code; see statement.h. */
typedef struct OwnScope
{
	int			depth;			/* of the frame that it was entered in */
	int			n_strangers;	/* that ran then; one more is not ours, in whatever frame */
	bool		trusted;		/* else a function for internal use that a stranger called */
} OwnScope;

static OwnScope *own = NULL;	/* in TopMemoryContext */
static int	n_own = 0;
static int	max_own = 0;

static const DpSubscriber *subscribers[MAX_SUBSCRIBERS];
static int	n_subscribers = 0;
static void (*release_memo) (struct DpOpenMemo *memo) = NULL;

static DpStatementFrame bottom;
DpStatementFrame *dp_frame = &bottom;
uint64		dp_statement_moment = 0;

int			dp_n_code = 0;
const DpCode *dp_code = NULL;

static DpCode *code = NULL;		/* what dp_code points to */
static int	max_code = 0;

int			dp_n_strangers = 0;
const DpStranger *dp_strangers = NULL;
uint64		dp_last_stranger = 0;

static DpStranger *strangers = NULL;	/* what dp_strangers points to */
static int	max_strangers = 0;

static DpCodeJudge judge = NULL;
static bool depends_on_role = false;
static bool (*may_count) (Oid function) = NULL;

static post_parse_analyze_hook_type previous_analyze = NULL;
static planner_hook_type previous_planner = NULL;
static get_relation_info_hook_type previous_relation_info = NULL;
static ExecutorStart_hook_type previous_start = NULL;
static ExecutorRun_hook_type previous_run = NULL;
static ExecutorFinish_hook_type previous_finish = NULL;
static ExecutorEnd_hook_type previous_end = NULL;
static ProcessUtility_hook_type previous_utility = NULL;
static ExecutorCheckPerms_hook_type previous_check_perms = NULL;
static object_access_hook_type previous_object_access = NULL;
static ClientAuthentication_hook_type previous_client = NULL;
static DpOwnKind (*own_kind) (Oid function) = NULL;
static void (*administration_begins) (const FmgrInfo *flinfo) = NULL;
static needs_fmgr_hook_type previous_needs_fmgr = NULL;
static fmgr_hook_type previous_fmgr = NULL;

/*
 * The events of which each statement has some: who hears of one stands in a list
 * of its own, so that those who do not cost nothing.
 */
#define EVENTS(do) \
	do(analyzed) do(planning) do(relation_info) do(starting) do(started) do(running) do(ending) \
	do(permits) do(object_access)

#define EVENT_NUMBER(member) EVENT_##member,
enum
{
	EVENTS(EVENT_NUMBER)
	N_EVENTS
};

typedef struct Listeners
{
	int			n;
	const DpSubscriber *of[MAX_SUBSCRIBERS];
} Listeners;

static Listeners listeners[N_EVENTS];

/* Call one member of every subscriber that has it, in their order. */
#define TELL(member, ...) \
	do { \
		const Listeners *to_ = &listeners[EVENT_##member]; \
		for (int i_ = 0; i_ < to_->n; i_++) \
			to_->of[i_]->member(__VA_ARGS__); \
	} while (0)

#define TELL_BACKWARDS(member, ...) \
	do { \
		const Listeners *to_ = &listeners[EVENT_##member]; \
		for (int i_ = to_->n - 1; i_ >= 0; i_--) \
			to_->of[i_]->member(__VA_ARGS__); \
	} while (0)

/* Likewise of the events that are rare. */
#define TELL_RARE(member, ...) \
	do { \
		for (int i_ = 0; i_ < n_subscribers; i_++) \
			if (subscribers[i_]->member != NULL) \
				subscribers[i_]->member(__VA_ARGS__); \
	} while (0)

static void
drop_memo(DpStatementFrame *frame)
{
	struct DpOpenMemo *memo = frame->memo;

	frame->memo = NULL;
	if (memo != NULL)
		release_memo(memo);
}

static inline void
push_frame(DpStatementFrame *frame, DpStatementFrameKind kind, CmdType command,
		   const PlannedStmt *plan)
{
	DpStatementFrame *outer = dp_frame;

	frame->kind = kind;
	frame->command = command;
	frame->plan = plan;
	frame->utility = NULL;
	frame->depth = outer->depth + 1;
	frame->role = GetUserId();
	frame->held = InterruptHoldoffCount;
	frame->error_context = error_context_stack;
	frame->within_ri = InNoForceRLSOperation();
	frame->is_ri = frame->within_ri && !outer->within_ri && kind != DP_FRAME_UTILITY;
	frame->in_copy_to = outer->in_copy_to;
	/* what CREATE TABLE AS runs is a query like others */
	frame->writes = (kind != DP_FRAME_UTILITY && command != CMD_SELECT && command != CMD_UTILITY) ||
		(plan != NULL && plan->hasModifyingCTE) || (outer->kind == DP_FRAME_UTILITY && outer->writes);
	frame->n_code = dp_n_code;
	frame->n_strangers = dp_n_strangers;
	frame->n_own = n_own;
	frame->memo = NULL;
	frame->outer = outer;
	dp_frame = frame;
	dp_statement_moment++;
}

static inline void
pop_frame(DpStatementFrame *frame)
{
	if (unlikely(frame->memo != NULL))
		drop_memo(frame);
	n_own = frame->n_own;
	dp_frame = frame->outer;
	dp_statement_moment++;
}

static void
leave_by_error(DpStatementFrame *frame)
{
	pop_frame(frame);
	dp_n_code = frame->n_code;
	dp_n_strangers = frame->n_strangers;
	TELL_RARE(error, geterrcode());
}

/* Around the call of the next hook: a frame, taken away whatever happens. */
#define BEGIN_FRAME(frame_kind, frame_command, frame_plan) \
	push_frame(&frame, frame_kind, frame_command, frame_plan); \
	PG_TRY(); \
	{
#define END_FRAME() \
	} \
	PG_CATCH(); \
	{ \
		leave_by_error(&frame); \
		PG_RE_THROW(); \
	} \
	PG_END_TRY(); \
	pop_frame(&frame)

static void
analyze_query(ParseState *pstate, Query *query, JumbleState *jumble)
{
	if (previous_analyze)
		previous_analyze(pstate, query, jumble);
	TELL(analyzed, pstate, query, jumble);
}

static PlannedStmt *
plan_next(Query *query, const char *source, int options, ParamListInfo params)
{
	if (dp_n_code > 0)
		options &= ~CURSOR_OPT_PARALLEL_OK;
	return previous_planner ? previous_planner(query, source, options, params) :
		standard_planner(query, source, options, params);
}

static PlannedStmt *
plan_query(Query *query, const char *source, int options, ParamListInfo params)
{
	PlannedStmt *volatile result = NULL;
	volatile bool of_role;
	bool		has_snapshot = ActiveSnapshotSet();
	DpStatementFrame frame;

	depends_on_role = false;
	dp_statement_moment++;
	/* a command that has become a query was to be planned by nobody */
	if (!has_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	TELL(planning, query, source);
	of_role = depends_on_role;
	BEGIN_FRAME(DP_FRAME_PLAN, query->commandType, NULL);
	frame.writes |= query->hasModifyingCTE;
	result = plan_next(query, source, options, params);
	END_FRAME();
	if (!has_snapshot)
		PopActiveSnapshot();
	if (of_role)
		result->dependsOnRole = true;
	return result;
}

static void
read_relation_info(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	if (previous_relation_info)
		previous_relation_info(root, relid, inhparent, rel);
	TELL(relation_info, root, relid, inhparent, rel);
}

static void
start_executor(QueryDesc *query, int flags)
{
	DpStatementFrame frame;

	TELL(starting, query);
	BEGIN_FRAME(DP_FRAME_START, query->operation, query->plannedstmt);
	if (previous_start)
		previous_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
	END_FRAME();
	TELL_BACKWARDS(started, query);
}

static void
run_next_executor(QueryDesc *query, ScanDirection direction, DP_EXECUTOR_RUN_PARAMS)
{
	DpStatementFrame frame;

	BEGIN_FRAME(DP_FRAME_RUN, query->operation, query->plannedstmt);
	if (previous_run)
		previous_run(query, direction, DP_EXECUTOR_RUN_ARGS);
	else
		standard_ExecutorRun(query, direction, DP_EXECUTOR_RUN_ARGS);
	END_FRAME();
}

static void
run_executor(QueryDesc *query, ScanDirection direction, DP_EXECUTOR_RUN_PARAMS)
{
	PlannedStmt *plan = query->plannedstmt;

	TELL(running, query);
	if (likely(dp_n_code == 0 || !plan->parallelModeNeeded))
	{
		run_next_executor(query, direction, DP_EXECUTOR_RUN_ARGS);
		return;
	}
	/* Planned outside of foreign code: the leader runs all of it. */
	plan->parallelModeNeeded = false;
	PG_TRY();
	{
		run_next_executor(query, direction, DP_EXECUTOR_RUN_ARGS);
	}
	PG_FINALLY();
	{
		plan->parallelModeNeeded = true;
	}
	PG_END_TRY();
}

static void
finish_executor(QueryDesc *query)
{
	DpStatementFrame frame;

	BEGIN_FRAME(DP_FRAME_FINISH, query->operation, query->plannedstmt);
	if (previous_finish)
		previous_finish(query);
	else
		standard_ExecutorFinish(query);
	END_FRAME();
}

static void
end_executor(QueryDesc *query)
{
	DpStatementFrame frame;

	TELL(ending, query);
	BEGIN_FRAME(DP_FRAME_END, query->operation, query->plannedstmt);
	if (previous_end)
		previous_end(query);
	else
		standard_ExecutorEnd(query);
	END_FRAME();
}

static bool
is_copy_to(Node *statement)
{
	return IsA(statement, CopyStmt) && !((CopyStmt *) statement)->is_from;
}

/* A command that stores what a query gives; the query of an EXPLAIN is analysed already. */
static bool
stores_query(Node *statement)
{
	if (IsA(statement, ExplainStmt))
	{
		Query	   *query = (Query *) ((ExplainStmt *) statement)->query;

		return IsA(query, Query) && query->commandType == CMD_UTILITY && stores_query(query->utilityStmt);
	}
	return IsA(statement, CreateTableAsStmt) || IsA(statement, RefreshMatViewStmt);
}

/*
 * Tell those whose begin_utility returned that it is over.  *n_begun counts down
 * before each call, so that one that refuses the command is not called again.
 */
static void
end_utility(const DpUtility *utility, const Datum *states, volatile int *n_begun, bool failed)
{
	while (*n_begun > 0)
	{
		int			i = --*n_begun;

		if (subscribers[i]->end_utility != NULL)
			subscribers[i]->end_utility(utility, states[i], failed);
	}
}

/* Apart from run_utility(), since PG_TRY blocks must not nest in one function. */
static void
run_next_utility(PlannedStmt *planned, const char *source, bool read_only_tree,
				 ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
				 DestReceiver *dest, QueryCompletion *completion)
{
	DpStatementFrame frame;

	BEGIN_FRAME(DP_FRAME_UTILITY, CMD_UTILITY, NULL);
	frame.utility = planned->utilityStmt;
	frame.in_copy_to |= is_copy_to(planned->utilityStmt);
	frame.writes = stores_query(planned->utilityStmt);
	if (previous_utility)
		previous_utility(planned, source, read_only_tree, context, params, environment, dest,
						 completion);
	else
		standard_ProcessUtility(planned, source, read_only_tree, context, params, environment, dest,
								completion);
	END_FRAME();
}

static void
run_told_utility(PlannedStmt *planned, const char *source, bool read_only_tree,
				 ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
				 DestReceiver *dest, QueryCompletion *completion)
{
	const DpUtility utility = {planned, planned->utilityStmt, source, context};
	Datum		states[MAX_SUBSCRIBERS] = {0};
	volatile int n_begun = 0;

	PG_TRY();
	{
		for (; n_begun < n_subscribers; n_begun++)
			if (subscribers[n_begun]->begin_utility != NULL)
				subscribers[n_begun]->begin_utility(&utility, &states[n_begun]);
		run_next_utility(planned, source, read_only_tree, context, params, environment, dest,
						 completion);
		end_utility(&utility, states, &n_begun, false);
	}
	PG_CATCH();
	{
		end_utility(&utility, states, &n_begun, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static PlannedStmt *
rewrite_utility(PlannedStmt *planned)
{
	for (int i = 0; i < n_subscribers; i++)
	{
		if (subscribers[i]->rewrite_utility != NULL)
			planned = subscribers[i]->rewrite_utility(planned);
	}
	return planned;
}

static void
run_utility_of_upgrade(PlannedStmt *planned, const char *source, bool read_only_tree,
					   ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
					   DestReceiver *dest, QueryCompletion *completion)
{
	run_next_utility(rewrite_utility(planned), source, read_only_tree, context, params, environment, dest,
					 completion);
}

static void
run_utility(PlannedStmt *planned, const char *source, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			DestReceiver *dest, QueryCompletion *completion)
{
	planned = rewrite_utility(planned);
	run_told_utility(planned, source, read_only_tree, context, params, environment, dest, completion);
}

static bool
check_perms(DP_CHECK_PERMS_PARAMS)
{
	if (previous_check_perms && !previous_check_perms(DP_CHECK_PERMS_ARGS))
		return false;
	for (int i = 0; i < listeners[EVENT_permits].n; i++)
	{
		if (!listeners[EVENT_permits].of[i]->permits(DP_CHECK_PERMS_ARGS))
			return false;
	}
	return true;
}

static void
access_object(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (previous_object_access)
		previous_object_access(access, class_id, object_id, sub_id, arg);
	TELL(object_access, access, class_id, object_id, sub_id, arg);
}

/* ---- own code ---- */

/* A stack with room for one more than n. */
static void *
with_room(void *stack, int n, int *max, Size size)
{
	int			new_max = Max(16, *max * 2);

	if (n < *max)
		return stack;
	stack = stack == NULL ? MemoryContextAlloc(TopMemoryContext, new_max * size) : repalloc(stack, new_max * size);
	*max = new_max;
	return stack;
}

static void
push_own(bool trusted)
{
	own = with_room(own, n_own, &max_own, sizeof(own[0]));
	own[n_own].depth = dp_frame->depth;
	own[n_own].n_strangers = dp_n_strangers;
	own[n_own].trusted = trusted;
	n_own++;
}

/* The frame of the statement that is running: what referential integrity adds is part of it. */
static int
statement_depth(void)
{
	const DpStatementFrame *frame = dp_frame;

	while (frame->is_ri && frame->outer != NULL)
		frame = frame->outer;
	return frame->depth;
}

/* The innermost scope, where no stranger's function runs within it; else NULL. */
static const OwnScope *
own_scope(void)
{
	const OwnScope *scope = n_own > 0 ? &own[n_own - 1] : NULL;

	return scope != NULL && scope->trusted && dp_n_strangers <= scope->n_strangers ? scope : NULL;
}

bool
dp_own_statement(void)
{
	const OwnScope *scope = own_scope();

	return scope != NULL && statement_depth() == scope->depth + 1;
}

bool
dp_own_told(void)
{
	const OwnScope *scope = own_scope();

	return scope != NULL && dp_frame->depth == scope->depth;
}

/* Called in a statement of own code, or in an expression of it. */
bool
dp_own_caller(void)
{
	const OwnScope *scope = own_scope();

	return scope != NULL && (dp_frame->depth == scope->depth || statement_depth() == scope->depth + 1);
}

int
dp_own_begin(void)
{
	push_own(true);
	return n_own - 1;
}

void
dp_own_end(int level)
{
	n_own = Min(n_own, level);
}

/* ---- foreign code ---- */

/*
 * Per call site, in the hook's private word: the chain's word, and our verdict,
 * which holds as long as a call of it runs.
 */
typedef struct CallSite
{
	Datum		next;
	int			running;		/* calls, where the function is recursive */
	DpCodeVerdict verdict;
	Oid			owner;
	DpOwnKind	own;
} CallSite;

static bool
needs_fmgr(Oid function)
{
	if (previous_needs_fmgr && previous_needs_fmgr(function))
		return true;
	return (may_count != NULL && may_count(function)) ||
		(own_kind != NULL && own_kind(function) != DP_OWN_NONE);
}

static void
push_code(Oid function, Oid owner)
{
	dp_code = code = with_room(code, dp_n_code, &max_code, sizeof(DpCode));
	code[dp_n_code].function = function;
	code[dp_n_code].owner = owner;
	dp_n_code++;
}

bool
dp_call_is_stored(const Node *call)
{
	if (call == NULL)
		return false;			/* called by C */
	switch (nodeTag(call))
	{
		case T_FuncExpr:
			return ((const FuncExpr *) call)->location < 0;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			return ((const OpExpr *) call)->location < 0;
		case T_ScalarArrayOpExpr:
			return ((const ScalarArrayOpExpr *) call)->location < 0;
		default:
			return true;
	}
}

static void
push_stranger(Oid function, Oid owner)
{
	dp_strangers = strangers = with_room(strangers, dp_n_strangers, &max_strangers, sizeof(DpStranger));
	strangers[dp_n_strangers].function = function;
	strangers[dp_n_strangers].owner = owner;
	strangers[dp_n_strangers].role = GetUserId();
	strangers[dp_n_strangers].number = ++dp_last_stranger;
	dp_n_strangers++;
}

void
dp_statement_enter_code(Oid function, Oid owner)
{
	push_code(function, owner);
}

void
dp_statement_leave_code(int level)
{
	dp_n_code = Min(dp_n_code, level);
}

static void
begin_call(FmgrInfo *flinfo, CallSite *site)
{
	if (site->running == 0)
	{
		site->verdict = judge != NULL ? judge(flinfo, &site->owner) : DP_CODE_OWN;
		site->own = own_kind != NULL ? own_kind(flinfo->fn_oid) : DP_OWN_NONE;
	}
	if ((site->own == DP_OWN_ADMINISTRATION || site->own == DP_OWN_ENTRY) && !dp_own_caller())
		administration_begins(flinfo);
	if (site->verdict != DP_CODE_OWN)
		push_stranger(flinfo->fn_oid, site->owner);
	if (site->verdict == DP_CODE_FOREIGN)
		push_code(flinfo->fn_oid, site->owner);
	if (site->own > DP_OWN_ENTRY)
		push_own(site->own != DP_OWN_INTERNAL || dp_own_caller());
	site->running++;
}

static void
end_call(CallSite *site)
{
	if (site->running > 0)
		site->running--;
	if (site->verdict != DP_CODE_OWN && dp_n_strangers > dp_frame->n_strangers)
		dp_n_strangers--;
	if (site->verdict == DP_CODE_FOREIGN && dp_n_code > dp_frame->n_code)
		dp_n_code--;
	if (site->own > DP_OWN_ENTRY && n_own > dp_frame->n_own)
		n_own--;
}

static void
call_function(FmgrHookEventType event, FmgrInfo *flinfo, Datum *private)
{
	CallSite   *site = (CallSite *) DatumGetPointer(*private);

	if (site == NULL)
	{
		site = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(CallSite));
		*private = PointerGetDatum(site);
	}
	if (event == FHET_START)
	{
		if (previous_fmgr)
			previous_fmgr(event, flinfo, &site->next);
		begin_call(flinfo, site);
		return;
	}
	if (previous_fmgr)
		previous_fmgr(event, flinfo, &site->next);
	end_call(site);
}

/* What no frame owns, as in workers that apply a subscription's changes. */
static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			drop_memo(&bottom);
			if (!DP_IN_STATEMENT())
				dp_n_code = dp_n_strangers = n_own = 0;
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

static void
meet_client(Port *port, int status)
{
	TELL_RARE(client, port, status);
	if (previous_client)
		previous_client(port, status);
}

void
dp_statement_subscribe(const DpSubscriber *subscriber)
{
	if (n_subscribers >= MAX_SUBSCRIBERS)
		elog(ERROR, "too many subscribers of statements");
	subscribers[n_subscribers++] = subscriber;
#define LISTEN(member) \
	if (subscriber->member != NULL) \
		listeners[EVENT_##member].of[listeners[EVENT_##member].n++] = subscriber;
	EVENTS(LISTEN)
#undef LISTEN
}

void
dp_statement_set_code_judge(bool (*new_may_count) (Oid function), DpCodeJudge new_judge)
{
	may_count = new_may_count;
	judge = new_judge;
}

void
dp_statement_set_own(DpOwnKind (*kind_of) (Oid function), void (*begins) (const FmgrInfo *flinfo))
{
	own_kind = kind_of;
	administration_begins = begins;
}

void
dp_statement_depends_on_role(void)
{
	depends_on_role = true;
}

void
dp_statement_set_memo_release(void (*release) (struct DpOpenMemo *memo))
{
	release_memo = release;
}

void
dp_statement_init(void)
{
	/*
	 * pg_upgrade makes again what was judged when it was made, and our tables are still without
	 * rows.
	 */
	if (IsBinaryUpgrade)
	{
		previous_utility = ProcessUtility_hook;
		ProcessUtility_hook = run_utility_of_upgrade;
		return;
	}
	previous_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = analyze_query;
	previous_planner = planner_hook;
	planner_hook = plan_query;
	previous_relation_info = get_relation_info_hook;
	get_relation_info_hook = read_relation_info;
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = run_executor;
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = finish_executor;
	previous_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end_executor;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
	previous_check_perms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_perms;
	previous_object_access = object_access_hook;
	object_access_hook = access_object;
	previous_client = ClientAuthentication_hook;
	ClientAuthentication_hook = meet_client;
	previous_needs_fmgr = needs_fmgr_hook;
	needs_fmgr_hook = needs_fmgr;
	previous_fmgr = fmgr_hook;
	fmgr_hook = call_function;
	RegisterXactCallback(end_transaction, NULL);
}
