/*
 * redact.c
 *	  In a database with the extension the server log shows no constants or
 *	  parameters of statements.
 *
 * The log hook prints the redacted report itself, by a nested EmitErrorReport,
 * and takes the server log off the original: the client still gets its own
 * text.  Nothing in here may raise an error; in doubt a text is withheld.  Any
 * field of a report may be NULL, its message_id too: reports that are passed on
 * from parallel workers have none.
 *
 *	field			shown in the log
 *	statement		with constants replaced by "?", or withheld
 *	message			logged statements likewise; quoted parts of data and syntax
 *					errors replaced; withheld where it repeats a constant; after values were
 *					opened, what is quoted or a number only where the statement has it
 *	hint			withheld where it repeats a constant, or values were opened
 *	detail			only for classes of errors whose detail is not data
 *	context			known lines without data; COPY up to the line number
 *	internal query	as the statement
 */
#include "postgres.h"

#include <ctype.h>
#include <dlfcn.h>

#include "access/xact.h"
#include "audit/literals.h"
#include "audit/redact.h"
#include "base/worker.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/memutils.h"

#define REPORT_MAX	(1024 * 1024)	/* all texts of a report; longer ones are withheld */
#define REPORT_KEPT (16 * 1024) /* of memory, so that small reports allocate nothing */
#define LONGEST_SEARCH	(64 * 1024 * 1024)

static void (*note_error) (const ErrorData *edata) = NULL;
static emit_log_hook_type previous_emit_log = NULL;

/*
 * The domain of a report that is redacted already: a mark in the report itself
 * cannot be left behind by an error, as a flag beside it could.
 */
static const char redacted_mark[] = "dataprotect-redacted";

static MemoryContext report_context = NULL; /* of the report being printed */
static const char *hidden_statement = NULL; /* stands behind debug_query_string */
static const char *shown_statement = NULL;	/* if that is this one */
static int	printing = 0;		/* reports on the stack */
static TimestampTz opened_at = 0;	/* start of the client's statement that last opened a value */

void
dp_redact_values_opened(void)
{
	opened_at = GetCurrentStatementStartTimestamp();
}

void
dp_redact_goes_on(void)
{
	if (opened_at != 0 && opened_at >= GetCurrentTransactionStartTimestamp())
		dp_redact_values_opened();
}

char *
dp_redact_sql(const char *sql)
{
	Size		len = strlen(sql);
	char	   *out = palloc(len + 1);

	return dp_literals_remove(sql, len, out) ? out : pstrdup(DP_WITHHELD);
}

const char *
dp_redact_hide_statement(void)
{
	hidden_statement = debug_query_string;
	shown_statement = debug_query_string = dp_redact_sql(hidden_statement);
	return hidden_statement;
}

void
dp_redact_show_statement(const char *original)
{
	debug_query_string = original;
	hidden_statement = NULL;
}

/* What the client sent, or NULL. */
static const char *
current_statement(void)
{
	return hidden_statement != NULL && debug_query_string == shown_statement ? hidden_statement :
		debug_query_string;
}

/* A quoted word that is a plain name of the database, as far as one can see. */
static bool
is_plain_name(const char *from, const char *to)
{
	for (; from < to; from++)
		if (!isalnum((unsigned char) *from) && strchr("_$.", *from) == NULL)
			return false;
	return true;
}

/*
 * Where a quoted part ends, or NULL: at the quote from which on, up to the next one, the message's own words
 * follow; else at the last, as a value may have quotes itself.
 */
static const char *
end_of_quoted(const char *from, const char *message_id)
{
	const char *end = strchr(from, '"');
	const char *next;

	while (end != NULL && (next = strchr(end + 1, '"')) != NULL)
	{
		if (message_id != NULL && memmem(message_id, strlen(message_id), end, next - end + 1) != NULL)
			break;
		end = next;
	}
	return end;
}

/* Replace what stands between double quotes; names: but plain names stay. */
static char *
redact_quoted(const char *text, const char *message_id, bool names)
{
	StringInfoData out;
	const char *quote;

	initStringInfo(&out);
	while ((quote = strchr(text, '"')) != NULL)
	{
		const char *end = end_of_quoted(quote + 1, message_id);

		appendBinaryStringInfo(&out, text, quote - text);
		if (end == NULL)
		{
			appendStringInfoString(&out, "\"?");
			return out.data;
		}
		if (names && is_plain_name(quote + 1, end))
			appendBinaryStringInfo(&out, quote, end - quote + 1);
		else
			appendStringInfoString(&out, "\"?\"");
		text = end + 1;
	}
	appendStringInfoString(&out, text);
	return out.data;
}

/* A line of this library's for the log alone: of roles, keys and counts, never of what a statement handed it. */
static bool
is_own_line(const ErrorData *edata)
{
	Dl_info		of_text;
	Dl_info		of_library;

	return edata->elevel == LOG && edata->message_id != NULL && dladdr(edata->message_id, &of_text) != 0 &&
		dladdr(DP_WITHHELD, &of_library) != 0 && of_text.dli_fbase == of_library.dli_fbase;
}

/*
 * Did what the client sent open values?  Then what a message quotes, or says in digits, may be one that
 * some function was handed, unless the statement says it as well.
 */
static bool
may_show_values(const ErrorData *edata)
{
	if (is_own_line(edata))
		return false;
	return (opened_at != 0 && opened_at == GetCurrentStatementStartTimestamp()) || edata->message_id == NULL;
}

static bool
stands_in(const char *statement, const char *part, Size len)
{
	return len > 0 && statement != NULL && strlen(statement) * len <= LONGEST_SEARCH && memmem(statement, strlen(statement), part, len) != NULL;
}

static char *
redact_values(const char *text, const char *message_id, const char *statement)
{
	StringInfoData out;

	initStringInfo(&out);
	while (*text != '\0')
	{
		bool		quoted = *text == '"';
		const char *from = quoted ? text + 1 : text;
		const char *to = quoted ? end_of_quoted(from, message_id) : from + strspn(from, "0123456789");

		if (to == NULL)
			to = from + strlen(from);
		if (quoted)
			appendStringInfoChar(&out, '"');
		if (to == from && !quoted)
			appendStringInfoChar(&out, *to++);
		else if (stands_in(statement, from, to - from))
			appendBinaryStringInfo(&out, from, to - from);
		else
			appendStringInfoChar(&out, '?');
		if (quoted && *to == '"')
			appendStringInfoChar(&out, *to++);
		text = to;
	}
	return out.data;
}

static bool
ends_with(const char *text, const char *end, Size *out_prefix)
{
	Size		text_len = strlen(text);
	Size		end_len = strlen(end);

	if (text_len < end_len || strcmp(text + text_len - end_len, end) != 0)
		return false;
	*out_prefix = text_len - end_len;
	return true;
}

/*
 * auto_explain in text form: all before the first plan line (the query and its
 * parameters) loses its constants; in the plan, quoted constants and those that
 * stand alone go, costs stay.
 */
static char *
redact_plan(const char *message)
{
	const char *plan = strstr(message, "plan:\n");
	const char *body;
	const char *first_node;
	StringInfoData out;

	if (plan == NULL)
		return pstrdup(DP_WITHHELD);
	body = plan + strlen("plan:\n");
	if (strncmp(body, "Query Text: ", 12) != 0 || (first_node = strstr(body, "(cost=")) == NULL)
		return psprintf("%.*s%s", (int) (body - message), message, DP_WITHHELD);
	while (first_node > body && first_node[-1] != '\n')
		first_node--;
	initStringInfo(&out);
	appendStringInfo(&out, "%.*sQuery Text: %s\n", (int) (body - message), message,
					 dp_redact_sql(pnstrdup(body + 12, first_node - body - 12)));
	for (const char *p = first_node; p != NULL;)
	{
		const char *line_end = strchr(p, '\n');
		char	   *line = pnstrdup(p, line_end ? line_end - p : strlen(p));

		/* A node's line names tables and costs; the others have expressions. */
		appendStringInfoString(&out, strstr(line, "(cost=") ? line : dp_redact_sql(line));
		if (line_end != NULL)
			appendStringInfoChar(&out, '\n');
		p = line_end ? line_end + 1 : NULL;
	}
	return out.data;
}

/* Does the text repeat a constant of the statement?  Yes where the look would take long. */
static bool
repeats_constant(const char *statement, const char *text)
{
	return strlen(statement) * strlen(text) > LONGEST_SEARCH || dp_literals_leak(statement, text);
}

/* Does the report show a statement that runs, or its parameters? */
static bool
logs_statement(const ErrorData *edata, const char *statement)
{
	const char *id = edata->message_id;
	Size		prefix;

	if (edata->elevel > LOG || edata->message == NULL)
		return false;
	return id == NULL || strncmp(id, "statement: ", 11) == 0 || strncmp(id, "duration: ", 10) == 0 ||
		strcmp(id, "%s %s%s%s: %s") == 0 ||
		(statement != NULL && statement[0] != '\0' && ends_with(edata->message, statement, &prefix));
}

static bool
shows_quoted_data(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION ||
		sqlstate == ERRCODE_SYNTAX_ERROR;
}

/* "level: 2; CachedPlanSource: 3072 total in 2 blocks; ... used: " and a statement, cut off */
static char *
redact_memory_context(const char *message)
{
	const char *end = strstr(message, " used");

	return end == NULL || end[5] == '\0' ? pstrdup(message) :
		psprintf("%.*s: %s", (int) (end + 5 - message), message, DP_WITHHELD);
}

static bool
is_syntax_or_access(const ErrorData *edata)
{
	return ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION;
}

static bool
is_translated(const ErrorData *edata)
{
	return edata->message_id != NULL && dgettext(edata->domain, edata->message_id) != edata->message_id;
}

static char *
redact_message(const ErrorData *edata, const char *statement)
{
	const char *id = edata->message_id != NULL ? edata->message_id : "";
	Size		prefix;

	if (edata->message == NULL)
		return NULL;
	if (logs_statement(edata, statement))
	{
		if (strstr(id, "plan:") != NULL)
			return redact_plan(edata->message);
		if (statement != NULL && ends_with(edata->message, statement, &prefix))
			return psprintf("%.*s%s", (int) prefix, edata->message, dp_redact_sql(statement));
		if (strcmp(id, "duration: %s ms") == 0)
			return edata->message;
		return pstrdup(DP_WITHHELD);
	}
	if (strncmp(id, "level: %d;", 10) == 0)
		return redact_memory_context(edata->message);
	/* all of it is data, as of RAISE; or may be, as of a worker that has its own line in the log */
	if (may_show_values(edata) && (id[0] == '\0' || strcmp(id, "%s") == 0 || ERRCODE_TO_CATEGORY(edata->sqlerrcode) == MAKE_SQLSTATE('P', '0', '0', '0', '0')))
		return pstrdup("message " DP_WITHHELD);
	/* translations quote by other signs: then the text that was translated, without what it is filled with */
	if (is_translated(edata) && (may_show_values(edata) || shows_quoted_data(edata->sqlerrcode) || is_syntax_or_access(edata)))
		return pstrdup(id);
	if (may_show_values(edata))
		return redact_values(shows_quoted_data(edata->sqlerrcode) ? redact_quoted(edata->message, id, false) : edata->message, id, statement);
	if (shows_quoted_data(edata->sqlerrcode))
		return redact_quoted(edata->message, id, false);
	if (is_syntax_or_access(edata))
		return redact_quoted(edata->message, id, true);
	if (statement != NULL && dp_literals_possible(statement) &&
		repeats_constant(statement, edata->message))
		return pstrdup("message " DP_WITHHELD);
	return edata->message;
}

/* Classes of errors whose details speak of objects and settings, not of rows. */
static bool
detail_is_harmless(const ErrorData *edata, const char *statement)
{
	int			category = ERRCODE_TO_CATEGORY(edata->sqlerrcode);

	/* Parse trees; rows that logical replication could not apply. */
	if (edata->elevel < ERROR)
		return !logs_statement(edata, statement) && edata->message_id != NULL &&
			strcmp(edata->message_id, "%s:") != 0 &&
			strncmp(edata->message_id, "conflict detected on relation", 29) != 0;
	return category != ERRCODE_DATA_EXCEPTION &&
		category != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION &&
		category != ERRCODE_WITH_CHECK_OPTION_VIOLATION &&
		category != ERRCODE_CARDINALITY_VIOLATION &&
		category != MAKE_SQLSTATE('P', '0', '0', '0', '0') &&
		edata->sqlerrcode != ERRCODE_SYNTAX_ERROR;
}

/* Keep what is known to carry no data. */
static void
redact_context_line(const char *line, Size len, StringInfo out)
{
	char	   *copy = pnstrdup(line, len);
	int			end = 0;
	int			number = 0;
	char		name[NAMEDATALEN + 1];

	if (sscanf(copy, "COPY %64[^,], line %d%n", name, &number, &end) == 2 && end > 0)
		appendBinaryStringInfo(out, copy, end);
	else if ((strncmp(copy, "PL/pgSQL function ", 18) == 0 || strncmp(copy, "SQL function \"", 14) == 0 ||
			  strncmp(copy, "parallel worker", 15) == 0 || strncmp(copy, "while ", 6) == 0) &&
			 strchr(copy, '\'') == NULL)
		appendStringInfoString(out, copy);
	else
		appendStringInfoString(out, DP_WITHHELD);
}

static char *
redact_context(const char *context)
{
	StringInfoData out;

	if (context == NULL)
		return NULL;
	initStringInfo(&out);
	for (const char *p = context; p != NULL;)
	{
		const char *end = strchr(p, '\n');

		redact_context_line(p, end ? end - p : strlen(p), &out);
		if (end != NULL)
			appendStringInfoChar(&out, '\n');
		p = end ? end + 1 : NULL;
	}
	return out.data;
}

/* Leave in the report what the server log may show. */
static void
redact_report(ErrorData *edata, const char *statement)
{
	bool		harmless = detail_is_harmless(edata, statement);

	edata->message = redact_message(edata, statement);
	if (edata->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
		edata->detail_log = NULL;	/* shows the other process's statement */
	if (harmless && edata->detail != NULL)
		harmless = !may_show_values(edata) && (statement == NULL || !repeats_constant(statement, edata->detail));
	if (!harmless)
	{
		edata->detail = edata->detail || edata->detail_log ? pstrdup(DP_WITHHELD) : NULL;
		edata->detail_log = NULL;
	}
	if (edata->hint != NULL && (may_show_values(edata) || (statement != NULL && repeats_constant(statement, edata->hint))))
		edata->hint = pstrdup(DP_WITHHELD);
	edata->context = redact_context(edata->context);
	if (edata->internalquery != NULL)
		edata->internalquery = may_show_values(edata) ? DP_WITHHELD : dp_redact_sql(edata->internalquery);
}

static Size
length_of(const char *text)
{
	return text != NULL ? strlen(text) : 0;
}

/* Will redacting find memory, without an error? */
static bool
can_redact(const ErrorData *edata, const char *statement)
{
	Size		len = length_of(edata->message) + length_of(edata->detail) +
		length_of(edata->detail_log) + length_of(edata->hint) + length_of(edata->context) +
		length_of(edata->internalquery) + length_of(statement);
	void	   *room;

	if (printing > 0 || len > REPORT_MAX)
		return false;
	room = MemoryContextAllocExtended(report_context, 8 * len + 1024, MCXT_ALLOC_NO_OOM);
	if (room == NULL)
		return false;
	pfree(room);
	return true;
}

static void
withhold_report(ErrorData *edata)
{
	edata->message = DP_WITHHELD;
	edata->detail = NULL;
	edata->detail_log = NULL;
	edata->hint = NULL;
	edata->context = NULL;
	edata->internalquery = NULL;
	debug_query_string = DP_WITHHELD;
}

/*
 * Print the redacted report, then leave the original to the client alone.
 * Printing may itself report something, which finds this report's memory in use.
 */
static void
emit_redacted(ErrorData *edata)
{
	const char *shown = debug_query_string;
	const char *statement = current_statement();
	ErrorData	original = *edata;

	if (can_redact(edata, statement))
	{
		MemoryContext old_context = MemoryContextSwitchTo(report_context);

		redact_report(edata, statement);
		if (statement != NULL)
			debug_query_string = dp_redact_sql(statement);
		MemoryContextSwitchTo(old_context);
	}
	else
		withhold_report(edata);
	edata->output_to_client = false;
	edata->domain = redacted_mark;

	printing++;
	PG_TRY();
	{
		EmitErrorReport();
	}
	PG_FINALLY();
	{
		printing--;
		debug_query_string = shown;
		*edata = original;
		edata->output_to_server = false;
	}
	PG_END_TRY();
	if (printing == 0)
		MemoryContextReset(report_context);
}

static void
redact_log(ErrorData *edata)
{
	if (edata->domain == redacted_mark || !edata->output_to_server || edata->elevel >= PANIC ||
		!dp_worker_database_known(MyDatabaseId))
	{
		if (previous_emit_log)
			previous_emit_log(edata);
		return;
	}
	if (edata->elevel >= ERROR)
		note_error(edata);
	emit_redacted(edata);
}

void
dp_redact_init(void (*error_noted) (const ErrorData *edata))
{
	note_error = error_noted;
	report_context = AllocSetContextCreate(TopMemoryContext, "dataprotect log", REPORT_KEPT,
										   REPORT_KEPT, ALLOCSET_DEFAULT_MAXSIZE);
	MemoryContextAllowInCriticalSection(report_context, true);
	previous_emit_log = emit_log_hook;
	emit_log_hook = redact_log;
}
