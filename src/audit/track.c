/*
 * track.c
 *	  The statement that runs, what it has opened, its intent and its result.
 *
 * One statement of the client is current at a time.  It begins when a hook is
 * entered with no frame on the stack (base/statement.h), and is complete when the next one
 * begins or its transaction ends: rows of RETURNING, FETCH, a held cursor or a
 * repeated Execute go out after their executor has ended, and still count.
 * Queries inside functions and triggers belong to the statement around them.
 *
 *	begin		planner, ExecutorStart, ProcessUtility with no frame on the stack, or a value opened
 *				for another portal than the current statement's
 *	intent		first value opened; or a parallel query on protected columns
 *	result		complete: ok; transaction or subtransaction aborted while the
 *				statement was current: error, cancelled; server process ending
 *				while it ran: lost.  A rollback after its completion is told by
 *				the range record of events/transaction.c.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "audit/activity.h"
#include "audit/archive.h"
#include "audit/audit_workers.h"
#include "audit/change_events.h"
#include "audit/digest.h"
#include "audit/parallel.h"
#include "audit/prepared.h"
#include "audit/protected_columns.h"
#include "audit/record_scan.h"
#include "audit/redact.h"
#include "audit/refusals.h"
#include "audit/role_events.h"
#include "audit/sink.h"
#include "audit/subjects.h"
#include "audit/track.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/statement.h"
#include "base/worker.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "events/actor.h"
#include "events/catalogue.h"
#include "events/denial.h"
#include "events/ring.h"
#include "events/transaction.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "storage/ipc.h"
#include "tcop/pquery.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#define NAMES_LEN		3072
#define MAX_READERS		8		/* roles of one statement; more take turns */

/* Lengths of an encoded result (events/record.c). */
#define RESULT_HEADER	40
#define RESULT_KEY		24		/* and the key's name */
#define RESULT_COLUMN	4		/* and the column's name */
#define RESULT_MAX		(RESULT_HEADER + DP_AUDIT_MAX_COUNTS * (RESULT_KEY + NAMEDATALEN) + \
						 DP_RECORD_MAX_COLUMNS * RESULT_COLUMN + NAMES_LEN)
#define COLLECT_NAPTIME_MS	60000

/* The record of whose values were opened: its frame, at most. */
#define SUBJECTS_MAX	(RESULT_HEADER + 64 + DP_SUBJECTS_TEXT)
#define SUBJECTS_ROOM	DP_RECORD_FRAME_SIZE(SUBJECTS_MAX)

typedef struct Column
{
	Oid			role;			/* that was current when its plan or command began */
	Oid			relid;
	AttrNumber	attnum;
	uint16		name_at;		/* in Statement.names */
	uint16		name_len;
} Column;

/*
 * What one role has opened in the current statement: a function with its
 * owner's rights, SET ROLE inside a function.  Each role has a record of its own.
 * Sets of columns are bits by their place in Statement.columns.
 */
typedef struct Reader
{
	Oid			role;
	bool		in_worker;		/* counts go to the leader's slot */
	uint64		intent;			/* 0: has opened nothing */
	Size		reserved;		/* put aside for its result */
	uint64		written;		/* columns that the intent names */
	uint64		late;			/* columns that the result has room for */
	Size		subjects_room;	/* put aside for the record of subjects */
	int			n_counts;
	DpSubjects	subjects;
	DpAuditCount counts[DP_AUDIT_MAX_COUNTS];
} Reader;

StaticAssertDecl(DP_RECORD_MAX_COLUMNS <= 64, "columns of a statement are bits of a number");

typedef struct Statement
{
	bool		planning;		/* only planned so far */
	const char *source;			/* compared, never read */
	QueryDesc  *query;			/* of the outermost executor, while it is open */
	const PlannedStmt *added;	/* compared, never read: its columns are noted */
	bool		added_reads;	/* it has protected ones */
	Portal		portal;			/* compared, never read, unless active */
	TimestampTz started_at;
	int			sqlstate;		/* last error inside it */
	int			n_columns;
	int			names_len;
	int			n_readers;
	int			next_reader;	/* whose turn ends where all are taken */
	Reader	   *leader;			/* has a slot for parallel workers' counts, or NULL */
	Column		columns[DP_RECORD_MAX_COLUMNS];
	Reader		readers[MAX_READERS];
	char		names[NAMES_LEN];
} Statement;

static Statement current;

/* The count that the last call went to, and its role; NULL: take the slow path. */
static DpAuditCount *hot = NULL;
static Oid	hot_role = InvalidOid;

/* Whose count the last call went to; NULL where it has ended. */
static Reader *last_reader = NULL;

static void
add_counts(DpRecord *record, const Reader *reader)
{
	record->n_keys = reader->n_counts;
	for (int i = 0; i < reader->n_counts; i++)
	{
		const DpAuditCount *count = &reader->counts[i];

		record->keys[i].family = count->family;
		record->keys[i].opened = count->opened;
		record->keys[i].compared = count->compared;
		record->keys[i].name.data = (const uint8 *) count->name;
		record->keys[i].name.len = strlen(count->name);
	}
}

static void
add_columns(DpRecord *record, uint64 columns)
{
	for (int i = 0; i < current.n_columns; i++)
	{
		DpSlice    *slice;

		if ((columns & (UINT64CONST(1) << i)) == 0)
			continue;
		slice = &record->columns[record->n_columns++];
		slice->data = (const uint8 *) current.names + current.columns[i].name_at;
		slice->len = current.columns[i].name_len;
	}
}

/* The columns that a role reads; where its plan is not known, those of the statement. */
static uint64
columns_of(Oid role)
{
	uint64		own = 0;
	uint64		all = 0;

	for (int i = 0; i < current.n_columns; i++)
	{
		all |= UINT64CONST(1) << i;
		if (current.columns[i].role == role)
			own |= UINT64CONST(1) << i;
	}
	return own != 0 ? own : all;
}

static Size
columns_len(uint64 columns)
{
	Size		len = 0;

	for (int i = 0; i < current.n_columns; i++)
		if ((columns & (UINT64CONST(1) << i)) != 0)
			len += RESULT_COLUMN + current.columns[i].name_len;
	return len;
}

/* Room that the result of a reader needs as things are. */
static Size
result_room(const Reader *reader, uint64 late)
{
	Size		len = RESULT_HEADER + columns_len(late);

	/* What workers will have opened is not known before. */
	if (reader == current.leader)
		return DP_RECORD_FRAME_SIZE(len + DP_AUDIT_MAX_COUNTS * (RESULT_KEY + NAMEDATALEN));
	for (int i = 0; i < reader->n_counts; i++)
		len += RESULT_KEY + strlen(reader->counts[i].name);
	return DP_RECORD_FRAME_SIZE(len);
}

/* Whose values the reader has opened.  Neither waits nor raises. */
static void
finish_subjects(Reader *reader)
{
	static uint8 buf[SUBJECTS_MAX];
	static DpRecord record;
	static char text[DP_SUBJECTS_TEXT];
	static uint8 sealed[DP_SUBJECTS_TEXT + 32];
	DpPersonal	personal;
	Size		len;

	if (reader->subjects.n == 0)
	{
		if (reader->subjects_room > 0)
			dp_ring_unreserve(reader->subjects_room);
		reader->subjects_room = 0;
		return;
	}
	memset(&personal, 0, sizeof(personal));
	personal.detail.data = (const uint8 *) text;
	personal.detail.len = dp_subjects_print(&reader->subjects, reader->intent, text);
	memset(&record, 0, offsetof(DpRecord, keys));
	record.kind = DP_RECORD_ADMIN;
	record.outcome = DP_OUTCOME_OK;
	record.event = DP_EVENT_VALUE_SUBJECTS;
	record.at = GetCurrentTimestamp();
	record.session = dp_actor_session();
	record.sealed_format = DP_SEALED_PLAIN; /* the collector seals it */
	record.sealed.data = sealed;
	record.sealed.len = dp_personal_encode(&personal, sealed, sizeof(sealed));
	len = dp_record_encode(&record, buf, sizeof(buf));
	Assert(len > 0 && DP_RECORD_FRAME_SIZE(len) <= reader->subjects_room);
	(void) dp_ring_append_reserved(MyDatabaseId, buf, len, reader->subjects_room);
	reader->subjects_room = 0;
	dp_subjects_clear(&reader->subjects);
}

/* Write a reader's result into its reserved room.  Neither waits nor raises. */
static void
finish_reader(Reader *reader, DpOutcome outcome)
{
	static uint8 buf[RESULT_MAX];
	static DpRecord record;
	Size		len;

	if (reader->in_worker)
		dp_parallel_add(reader->counts, reader->n_counts, &reader->subjects);
	reader->in_worker = false;
	if (reader == current.leader)
		dp_parallel_take(reader->counts, &reader->n_counts, &reader->subjects);
	if (reader->intent == 0)
		return;
	finish_subjects(reader);
	memset(&record, 0, offsetof(DpRecord, keys));
	record.kind = DP_RECORD_RESULT;
	record.outcome = outcome;
	record.event = DP_EVENT_VALUE_REVEALED;
	record.at = GetCurrentTimestamp();
	record.session = dp_actor_session();
	record.ref_seq = reader->intent;
	add_counts(&record, reader);
	add_columns(&record, reader->late);
	len = dp_record_encode(&record, buf, sizeof(buf));
	Assert(len > 0 && DP_RECORD_FRAME_SIZE(len) <= reader->reserved);
	(void) dp_ring_append_reserved(MyDatabaseId, buf, len, reader->reserved);
	reader->intent = 0;
	reader->reserved = 0;
}

static void
finish(DpOutcome outcome)
{
	hot = NULL;
	last_reader = NULL;
	for (int i = 0; i < current.n_readers; i++)
		finish_reader(&current.readers[i], outcome);
	current.n_readers = 0;
	current.next_reader = 0;
	current.leader = NULL;
}

/* A new statement of the client begins; what came before is complete. */
static void
begin_statement(const char *source, bool planning)
{
	finish(DP_OUTCOME_OK);
	current.planning = planning;
	current.source = source;
	current.query = NULL;
	current.added = NULL;
	current.portal = ActivePortal;
	current.started_at = GetCurrentStatementStartTimestamp();
	current.sqlstate = 0;
	current.n_columns = 0;
	current.names_len = 0;
}

static void
add_column(Oid relid, const DpAuditColumnName *column)
{
	Column	   *to;
	Size		len = strlen(column->name);
	Oid			role = GetUserId();

	for (int i = 0; i < current.n_columns; i++)
		if (current.columns[i].relid == relid && current.columns[i].attnum == column->attnum &&
			current.columns[i].role == role)
			return;
	len = Min(len, DP_RECORD_MAX_NAME);
	if (current.n_columns >= DP_RECORD_MAX_COLUMNS || current.names_len + len > NAMES_LEN)
		return;
	to = &current.columns[current.n_columns++];
	to->role = role;
	to->relid = relid;
	to->attnum = column->attnum;
	to->name_at = current.names_len;
	to->name_len = len;
	memcpy(current.names + current.names_len, column->name, len);
	current.names_len += len;
	hot = NULL;					/* the next value makes room for its name */
}

/* selected: as in a range table entry; NULL: every column. */
static bool
add_relation(Oid relid, const Bitmapset *selected)
{
	const DpAuditRelation *relation = dp_audit_relation(relid);
	bool		whole_row = selected == NULL ||
		bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, selected);
	bool		any = false;

	for (int i = 0; i < relation->n; i++)
	{
		AttrNumber	attnum = relation->columns[i].attnum;

		if (!whole_row && !bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, selected))
			continue;
		add_column(relid, &relation->columns[i]);
		any = true;
	}
	return any;
}

/* Protected columns that a plan reads; true where there are some. */
static bool
add_plan(PlannedStmt *stmt)
{
	List	   *perminfos = dp_plannedstmt_perminfos(stmt);
	bool		any = false;
	ListCell   *cell;

	if (InNoForceRLSOperation())
		return false;			/* referential integrity reads for nobody */
	foreach(cell, stmt->rtable)
	{
		RangeTblEntry *rte = (RangeTblEntry *) lfirst(cell);
		Bitmapset  *selected;

		if (rte->rtekind != RTE_RELATION || rte->relkind == RELKIND_VIEW || !dp_rte_is_named(rte))
			continue;
		/* what is assigned is compared with what is there (columns/kept_value.c) */
		selected = bms_union(dp_rte_selected_cols(rte, perminfos), dp_rte_updated_cols(rte, perminfos));
		if (selected != NULL)
			any |= add_relation(rte->relid, selected);
		bms_free(selected);
	}
	if (any)
		dp_actor_prepare();
	return any;
}

/* Of the statement's columns, those that the innermost plan on the stack reads; 0 where none is known. */
static uint64
columns_of_plan(void)
{
	const DpStatementFrame *frame = dp_frame;
	List	   *perminfos;
	ListCell   *cell;
	uint64		set = 0;

	while (frame != NULL && frame->plan == NULL)
		frame = frame->outer;
	if (frame == NULL)
		return 0;
	perminfos = dp_plannedstmt_perminfos(unconstify(PlannedStmt *, frame->plan));
	foreach(cell, frame->plan->rtable)
	{
		RangeTblEntry *rte = (RangeTblEntry *) lfirst(cell);
		Bitmapset  *selected;

		if (rte->rtekind != RTE_RELATION || !dp_rte_is_named(rte))
			continue;
		selected = bms_union(dp_rte_selected_cols(rte, perminfos), dp_rte_updated_cols(rte, perminfos));
		for (int i = 0; i < current.n_columns; i++)
			if (current.columns[i].relid == rte->relid && current.columns[i].role == GetUserId() &&
				(bms_is_member(current.columns[i].attnum - FirstLowInvalidHeapAttributeNumber, selected) ||
				 bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, selected)))
				set |= UINT64CONST(1) << i;
		bms_free(selected);
	}
	return set;
}

/* For a refusal (events/denial.h): what is being read as the current role. */
static void
write_column_names(char *out, Size size)
{
	uint64		columns = columns_of_plan();
	Size		at = 0;

	if (columns == 0)
		columns = columns_of(GetUserId());
	for (int i = 0; i < current.n_columns; i++)
	{
		const Column *column = &current.columns[i];

		if ((columns & (UINT64CONST(1) << i)) == 0 || at + column->name_len + 1 >= size)
			continue;
		memcpy(out + at, current.names + column->name_at, column->name_len);
		at += column->name_len + 1;
	}
}

/* follow: of a FETCH, those of the portal that it names, and no further. */
static void
add_portal(Portal portal, bool follow)
{
	ListCell   *cell;

	if (!PortalIsValid(portal))
		return;
	foreach(cell, portal->stmts)
	{
		PlannedStmt *stmt = lfirst_node(PlannedStmt, cell);

		if (stmt->commandType != CMD_UTILITY)
			(void) add_plan(stmt);
		else if (follow && stmt->utilityStmt != NULL && IsA(stmt->utilityStmt, FetchStmt))
			add_portal(GetPortalByName(((FetchStmt *) stmt->utilityStmt)->portalname), false);
	}
}

static void
starting(QueryDesc *query)
{
	bool		reads;

	if (!DP_IN_STATEMENT())
	{
		if (!current.planning || current.source != query->sourceText)
			begin_statement(query->sourceText, false);
		current.planning = false;
		current.portal = ActivePortal;
		current.query = query;
	}
	reads = add_plan(query->plannedstmt);
	if (!DP_IN_STATEMENT())
	{
		current.added = query->plannedstmt;
		current.added_reads = reads;
	}
}

/* The reader of a role; the oldest one's record ends where there are too many. */
static Reader *
find_reader(Oid role)
{
	Reader	   *reader;

	for (int i = 0; i < current.n_readers; i++)
		if (current.readers[i].role == role)
			return &current.readers[i];
	if (current.n_readers < MAX_READERS)
		reader = &current.readers[current.n_readers++];
	else
	{
		do
			reader = &current.readers[current.next_reader++ % MAX_READERS];
		while (reader == current.leader);
		finish_reader(reader, DP_OUTCOME_OK);
	}
	memset(reader, 0, offsetof(Reader, subjects));
	dp_subjects_clear(&reader->subjects);
	reader->role = role;
	hot = NULL;
	last_reader = NULL;
	return reader;
}

static void
write_intent(Reader *reader)
{
	static DpRecord record;
	Size		room = result_room(reader, 0);

	memset(&record, 0, offsetof(DpRecord, columns));
	record.kind = DP_RECORD_INTENT;
	record.outcome = DP_OUTCOME_STARTED;
	record.event = DP_EVENT_VALUE_REVEALED;
	dp_actor_fill(&record, NULL);
	reader->written = columns_of(reader->role);
	reader->late = 0;
	add_columns(&record, reader->written);
	add_counts(&record, reader);
	reader->intent = dp_transaction_append(&record, room);
	reader->reserved = room;
	if (dp_guc_audit_mode == DP_AUDIT_DURABLE)
		dp_ring_wait_durable(reader->intent);
}

/* Have room for all that the result will tell: it must not wait, nor leave out. */
static void
make_room(Reader *reader)
{
	uint64		late = columns_of(reader->role) & ~reader->written;
	Size		room = result_room(reader, late);

	if (room > reader->reserved)
	{
		dp_ring_reserve(room - reader->reserved, DP_RING_ORDINARY);
		reader->reserved = room;
	}
	reader->late = late;
}

static void
make_subjects_room(Reader *reader)
{
	if (reader->subjects_room > 0)
		return;
	dp_ring_reserve(SUBJECTS_ROOM, DP_RING_ORDINARY);
	reader->subjects_room = SUBJECTS_ROOM;
}

/* Before parallel workers start: where they leave their counts. */
static void
claim_slot(void)
{
	Reader	   *reader = find_reader(GetUserId());

	if (current.leader == NULL && dp_parallel_claim())
		current.leader = reader;
	if (current.leader != reader)
		return;					/* its workers write records of their own */
	if (reader->intent == 0)
		write_intent(reader);
	else
		make_room(reader);
	make_subjects_room(reader);
}

static void
running(QueryDesc *query)
{
	bool		reads;

	if (query->already_executed)
		dp_redact_goes_on();
	if (!DP_IN_STATEMENT() && current.query != query)
	{
		/* Another portal goes on: a further statement, of the same text. */
		begin_statement(query->sourceText, false);
		current.query = query;
	}
	if (!DP_IN_STATEMENT() && current.added == query->plannedstmt)
		reads = current.added_reads;
	else
		reads = add_plan(query->plannedstmt);
	if (reads && query->plannedstmt->parallelModeNeeded && !IsParallelWorker())
	{
		claim_slot();
	}
}

static void
ending(QueryDesc *query)
{
	if (current.query == query)
		current.query = NULL;
}

/* Columns that a utility statement reads by itself. */
static void
add_utility(Node *statement)
{
	if (IsA(statement, FetchStmt))
		add_portal(GetPortalByName(((FetchStmt *) statement)->portalname), false);
	else if (IsA(statement, CopyStmt))
	{
		CopyStmt   *copy = (CopyStmt *) statement;
		Bitmapset  *selected = NULL;
		ListCell   *cell;
		Oid			relid;

		if (copy->is_from || copy->relation == NULL)
			return;
		relid = RangeVarGetRelid(copy->relation, NoLock, true);
		if (!OidIsValid(relid))
			return;
		foreach(cell, copy->attlist)
		{
			AttrNumber	attnum = get_attnum(relid, strVal(lfirst(cell)));

			selected = bms_add_member(selected, attnum - FirstLowInvalidHeapAttributeNumber);
		}
		(void) add_relation(relid, selected);
	}
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	if (!DP_IN_STATEMENT())
		begin_statement(utility->source, false);
	add_utility(utility->statement);
}

static void
planning(Query *query, const char *source)
{
	if (!DP_IN_STATEMENT())
		begin_statement(source, true);
}

/* To tell a cancel from a failure. */
static void
note_error(int sqlstate)
{
	current.sqlstate = sqlstate;
}

static void
note_logged(const ErrorData *edata)
{
	note_error(edata->sqlerrcode);
	dp_refusal_logged(edata);
}

/* Is the value that is opened now the current statement's? */
static bool
is_current(void)
{
	if (DP_IN_STATEMENT())
		return true;
	if (ActivePortal != current.portal)
		return false;
	return ActivePortal != NULL || current.started_at == GetCurrentStatementStartTimestamp();
}

/*
 * The count of a key for the current role, in the current statement, whose
 * intent is written.
 */
static DpAuditCount *
find_count(int32 family, const char *key_name)
{
	DpAuditCount *count;
	Reader	   *reader;
	int			known;

	if (!is_current())
	{
		begin_statement(NULL, false);
		add_portal(ActivePortal, true);
	}
	reader = find_reader(GetUserId());
	if (reader->intent == 0 && IsParallelWorker() && dp_parallel_has_leader())
		reader->in_worker = true;
	known = reader->n_counts;
	count = dp_audit_count(reader->counts, &reader->n_counts, family, key_name);
	PG_TRY();
	{
		if (!reader->in_worker && reader->intent == 0)
			write_intent(reader);
		else if (!reader->in_worker)
			make_room(reader);
	}
	PG_CATCH();
	{
		reader->n_counts = known;	/* no room for it, and nothing was opened */
		PG_RE_THROW();
	}
	PG_END_TRY();

	/* Outside any portal (fast path) statements differ only by their time. */
	hot = DP_IN_STATEMENT() || ActivePortal != NULL ? count : NULL;
	hot_role = reader->role;
	last_reader = reader;
	return count;
}

static inline bool
is_hot(int32 family)
{
	return likely(hot != NULL && hot->family == family && hot_role == GetUserId() &&
				  (DP_IN_STATEMENT() || ActivePortal == current.portal));
}

bool
dp_audit_opening_again(int32 family)
{
	if (!is_hot(family))
		return false;
	hot->opened++;
	return true;
}

bool
dp_audit_comparing_again(int32 family)
{
	if (!is_hot(family))
		return false;
	hot->compared++;
	return true;
}

void
dp_audit_opening(int32 family, const char *key_name)
{
	dp_redact_values_opened();
	find_count(family, key_name)->opened++;
}

void
dp_audit_comparing(int32 family, const char *key_name)
{
	dp_redact_values_opened();
	find_count(family, key_name)->compared++;
}

bool
dp_audit_subject(uint64 key_id)
{
	Reader	   *reader = last_reader;
	bool		waited = false;

	if (reader == NULL)
		elog(ERROR, "a value of an account is opened by nobody");
	if (!reader->in_worker && reader->subjects_room == 0)
	{
		make_subjects_room(reader);
		waited = true;
	}
	dp_subjects_add(&reader->subjects, key_id);
	return waited;
}

bool
dp_audit_in_copy_to(void)
{
	return dp_frame->in_copy_to;
}

static bool
is_running(void)
{
	return DP_IN_STATEMENT();
}

static DpOutcome
outcome_of_abort(void)
{
	if (proc_exit_inprogress)
		return DP_IN_STATEMENT() || ActivePortal != NULL ? DP_OUTCOME_LOST : DP_OUTCOME_ROLLED_BACK;
	return current.sqlstate == ERRCODE_QUERY_CANCELED ? DP_OUTCOME_CANCELLED : DP_OUTCOME_ERROR;
}

static uint64
end_transaction(bool committed, bool top_level)
{
	uint64		intent = current.n_readers == 1 ? current.readers[0].intent : 0;

	/* A procedure commits or rolls back and goes on, or a block catches an error. */
	if (DP_IN_STATEMENT() && !(proc_exit_inprogress && top_level))
		return 0;
	if (committed && !top_level)
		return 0;
	finish(committed ? DP_OUTCOME_OK : outcome_of_abort());
	if (top_level)
		begin_statement(NULL, false);
	return committed ? 0 : intent;
}

static const DpSubscriber subscriber = {
	.name = "audit",
	.planning = planning,
	.starting = starting,
	.running = running,
	.ending = ending,
	.begin_utility = begin_utility,
	.error = note_error,
};

void
dp_audit_init(void)
{
	static const DpTransactionHooks hooks = {is_running, end_transaction};

	dp_actor_set_sealer(dp_keys_audit_seal);
	dp_transaction_set_hooks(&hooks);
	dp_denial_set_columns(write_column_names);
	dp_parallel_init();
	dp_statement_subscribe(&subscriber);
	dp_refusals_init();
	dp_redact_init(note_logged);
	dp_activity_init();
	dp_role_events_init();
	dp_change_events_init();
	dp_prepared_init();
	dp_audit_writer_register();
	/* the writer says where records wait; otherwise now and then, for lost ones */
	dp_worker_register(DP_AUDIT_WORKER_KIND, dp_audit_round, COLLECT_NAPTIME_MS);
	dp_worker_serve_standbys(DP_AUDIT_WORKER_KIND);
	dp_digest_init();
	dp_archive_init();
	dp_sink_init();
	dp_record_plan_init();
}
