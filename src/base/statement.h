/*
 * statement.h
 *	  The one door between PostgreSQL's hooks and the other layers: which
 *	  statement runs, on what stack of planners, executors and utility commands.
 *
 * No other file installs one of the hooks below; who wants to hear of one
 * subscribes (lint checks both).  Subscribers are registered at _PG_init, lowest
 * layer first, and within a layer in the order of its init function, which says
 * why where it matters.  They are called in that order, started and end_utility
 * in the reverse one.  analyzed, relation_info, object_access, client and error
 * follow PostgreSQL's own work, or another library's hook.
 *
 * What a subscriber may do:
 *	- before (analyzed, planning, relation_info, starting, running, permits,
 *	  rewrite_utility, begin_utility): the command has not checked anybody's
 *	  permission yet.  It may read catalogs, take ACCESS SHARE on what the command
 *	  names (the command is about to lock it harder, and waits no longer for it), and
 *	  fill caches of this backend and of the key agent; it may refuse the command.
 *	  It does nothing else that another session notices unless it has checked,
 *	  itself, the right that the command asks for.
 *	- object_access: the command has that right, and may still fail; what it does
 *	  goes back with the transaction, or with the next look at the catalogs.
 *	- after (started, end_utility): the command has succeeded, and may still be
 *	  refused; with failed set it has raised the error that is passed on, and the
 *	  subscriber must neither raise another nor wait.
 *	- ending and error: nothing but its own memory, and counters in shared memory.
 *	- client: no transaction, hence no catalog.
 *
 * A frame is one entry into planner, executor or utility command.  Frames lie on
 * the C stack of the hooks: a pointer to one is valid while the hook runs, and
 * the stack is unwound by every error.  All of this is one backend's; no lock.
 */
#ifndef DP_BASE_STATEMENT_H
#define DP_BASE_STATEMENT_H

#include "postgres.h"

#include "base/compat.h"
#include "catalog/objectaccess.h"
#include "executor/execdesc.h"
#include "nodes/parsenodes.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "parser/analyze.h"
#include "tcop/utility.h"

typedef enum DpStatementFrameKind
{
	DP_FRAME_NONE,				/* between statements: the bottom of the stack */
	DP_FRAME_PLAN,				/* planner */
	DP_FRAME_START,				/* ExecutorStart */
	DP_FRAME_RUN,				/* ExecutorRun */
	DP_FRAME_FINISH,			/* ExecutorFinish: AFTER triggers fire */
	DP_FRAME_END,				/* ExecutorEnd */
	DP_FRAME_UTILITY			/* ProcessUtility */
} DpStatementFrameKind;

struct Port;
struct DpOpenMemo;				/* types/open_memo.h */

typedef struct DpStatementFrame
{
	DpStatementFrameKind kind;
	CmdType		command;		/* of the query; CMD_UTILITY for a command */
	const PlannedStmt *plan;	/* of an executor's query; else NULL */
	const Node *utility;		/* the command, where it is one; else NULL */
	int			depth;			/* frames below this one; 0 at the bottom */
	Oid			role;			/* current role when it was entered */
	uint32		held;			/* InterruptHoldoffCount when it was entered */
	ErrorContextCallback *error_context;	/* when it was entered */
	bool		within_ri;		/* entered in the context of referential integrity */
	bool		is_ri;			/* ... and by it: the RI trigger's own query */
	bool		in_copy_to;		/* a COPY TO is on the stack */
	bool		writes;			/* its query changes rows, or its command stores a query's */
	int			n_code;			/* dp_n_code when it was entered */
	int			n_strangers;	/* dp_n_strangers when it was entered */
	int			n_own;			/* scopes of own code when it was entered */
	struct DpOpenMemo *memo;	/* values opened in it; NULL: none yet */
	struct DpStatementFrame *outer; /* NULL at the bottom */
} DpStatementFrame;

/* The innermost frame; never NULL.  The bottom one ends with its transaction. */
extern DpStatementFrame *dp_frame;

/*
 * Moves where a frame is entered or left, before the subscribers of "planning" are
 * called, and where an autonomous statement has run:
 * while it stands, the session does nothing but go on with the rows of one frame.
 */
extern uint64 dp_statement_moment;

/* True while a hook of ours is on the stack. */
#define DP_IN_STATEMENT()	(dp_frame->depth > 0)

typedef struct DpUtility
{
	PlannedStmt *planned;
	Node	   *statement;		/* planned->utilityStmt; may be changed by its run */
	const char *source;
	ProcessUtilityContext context;
} DpUtility;

/* All members may be NULL. */
typedef struct DpSubscriber
{
	const char *name;

	/* A query has been analysed; it may be changed. */
	void		(*analyzed) (ParseState *pstate, Query *query, JumbleState *jumble);

	/* The planner is entered. */
	void		(*planning) (Query *query, const char *source);

	/* The planner has read what it will know of a relation. */
	void		(*relation_info) (PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel);

	/* The executor is entered; started: it was set up, and no row is read yet. */
	void		(*starting) (QueryDesc *query);
	void		(*started) (QueryDesc *query);
	void		(*running) (QueryDesc *query);
	void		(*ending) (QueryDesc *query);

	/*
	 * Privileges on relations are asked for (compat.h names the arguments).  False refuses, and
	 * raises the error where one is wanted; it is not where referential integrity asks whether
	 * one query may check a whole table.
	 */
	bool		(*permits) (DP_CHECK_PERMS_PARAMS);

	/* A utility command, to be changed in a copy; returns it, or the command itself. */
	PlannedStmt *(*rewrite_utility) (PlannedStmt *planned);

	/*
	 * A utility command.  *state is the subscriber's own, from the one call to the other;
	 * end_utility is called if and only if begin_utility returned.
	 */
	void		(*begin_utility) (const DpUtility *utility, Datum *state);
	void		(*end_utility) (const DpUtility *utility, Datum state, bool failed);

	/* An object is made, altered, dropped or looked up. */
	void		(*object_access) (ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
								  void *arg);

	/* A client was authenticated, or (status is not STATUS_OK) refused; no transaction. */
	void		(*client) (struct Port *port, int status);

	/* An error passes through a frame. */
	void		(*error) (int sqlstate);
} DpSubscriber;

/*
 * Foreign code: functions that are running now and were put where they run by a
 * role that may not be the one whose rights they run with, outermost first.
 * may_count says of a function, when it is looked up, whether it could ever count:
 * such a function is never inlined, and its calls are guarded; the judge says at
 * each of them whether it counts now.  Parallel workers would not know of them:
 * while there is foreign code, plans run without.
 */
typedef struct DpCode
{
	Oid			function;
	Oid			owner;
} DpCode;

extern int	dp_n_code;
extern const DpCode *dp_code;	/* dp_n_code of them */

/*
 * Strangers: functions that are running now and are somebody's whom nobody has
 * trusted, whatever their owners may see, outermost first; foreign code is among them.
 * What they do counts as theirs where they run as another role than their owner.
 */
typedef struct DpStranger
{
	Oid			function;
	Oid			owner;			/* InvalidOid: whoever stored the expression that calls it */
	Oid			role;			/* as whom it runs */
	uint64		number;			/* later ones have higher numbers */
} DpStranger;

extern int	dp_n_strangers;
extern const DpStranger *dp_strangers;	/* dp_n_strangers of them */
extern uint64 dp_last_stranger; /* number of the last that began */

typedef enum DpCodeVerdict
{
	DP_CODE_OWN,
	DP_CODE_STRANGE,			/* may see everything, but is not trusted */
	DP_CODE_FOREIGN				/* counts for what may be seen */
} DpCodeVerdict;

/* Whose code a call is: *owner.  May read tables, and refuse the call. */
struct FmgrInfo;
typedef DpCodeVerdict (*DpCodeJudge) (const struct FmgrInfo *flinfo, Oid *owner);
extern void dp_statement_set_code_judge(bool (*may_count) (Oid function), DpCodeJudge judge);

/*
 * Does a call (FmgrInfo.fn_expr) stand in an expression that was stored?  What is read from
 * a catalog has no location in a statement's text; nor has it in a parallel worker.
 */
extern bool dp_call_is_stored(const Node *call);

/*
 * As if the function were running as that role's code, until
 * dp_statement_leave_code(dp_n_code from before).
 */
extern void dp_statement_enter_code(Oid function, Oid owner);
extern void dp_statement_leave_code(int level);

/*
 * Own code: who wrote the statement that is running?  A function of the extension
 * is guarded like foreign code, and opens a scope: statements that it runs itself,
 * one frame further in, are ours; what runs inside them (triggers, defaults and
 * functions that somebody put there) is further in still, and is not.  Referential
 * integrity goes on for the statement that it follows.  A function for internal
 * use is ours only where another of ours, or C code of ours, called it.
 */
typedef enum DpOwnKind
{
	DP_OWN_NONE,
	DP_OWN_ENTRY,				/* administration, and opens no scope by itself */
	DP_OWN_INTERNAL,
	DP_OWN_PUBLIC,
	DP_OWN_ADMINISTRATION		/* public: changes something, and is not everybody's */
} DpOwnKind;

/* begins: called before a function of administration that own code did not call; may refuse it. */
extern void dp_statement_set_own(DpOwnKind (*kind_of) (Oid function),
								 void (*begins) (const struct FmgrInfo *flinfo));

/* C code: around statements of its own, and functions that it calls; pairs, in PG_TRY. */
extern int	dp_own_begin(void);
extern void dp_own_end(int level);

/*
 * Is the innermost statement one of ours?  Is the one ours that a subscriber is told of from
 * outside its frame (all but permits, relation_info and object_access)?  Was a C function called by own code?
 */
extern bool dp_own_statement(void);
extern bool dp_own_told(void);
extern bool dp_own_caller(void);

/*
 * From a planning subscriber: what it found depends on the current role, so that
 * the plan is of no use to another.
 */
extern void dp_statement_depends_on_role(void);

/* subscriber: static, in the registering file.  From _PG_init only. */
extern void dp_statement_subscribe(const DpSubscriber *subscriber);

/* Who wipes a frame's memo as the frame ends; the types layer says it. */
extern void dp_statement_set_memo_release(void (*release) (struct DpOpenMemo *memo));

extern void dp_statement_init(void);

#endif							/* DP_BASE_STATEMENT_H */
