/*
 * sql_runner.c
 *	  Functions that run SQL that they are told; see sql_runner.h.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "access/sql_runner.h"
#include "access/transam.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/proclang.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "keys/own_function.h"
#include "miscadmin.h"
#include "parser/scansup.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* test/attack/35 calls every built-in function that could be one. */
bool
dp_sql_runner_is_builtin(Oid function)
{
	switch (function)
	{
		case F_QUERY_TO_XML:
		case F_QUERY_TO_XMLSCHEMA:
		case F_QUERY_TO_XML_AND_XMLSCHEMA:
		case F_CURSOR_TO_XML:
		case F_CURSOR_TO_XMLSCHEMA:
		case F_TABLE_TO_XML:
		case F_TABLE_TO_XMLSCHEMA:
		case F_TABLE_TO_XML_AND_XMLSCHEMA:
		case F_SCHEMA_TO_XML:
		case F_SCHEMA_TO_XMLSCHEMA:
		case F_SCHEMA_TO_XML_AND_XMLSCHEMA:
		case F_DATABASE_TO_XML:
		case F_DATABASE_TO_XMLSCHEMA:
		case F_DATABASE_TO_XML_AND_XMLSCHEMA:
		case F_TS_STAT_TEXT:
		case F_TS_STAT_TEXT_TEXT:
		case F_TS_REWRITE_TSQUERY_TEXT:
		case F_SET_CONFIG:
			return true;
		default:
			return false;
	}
}

/* ---- functions in C ---- */

typedef struct KnownRunner
{
	Oid			function;		/* hash key */
	DpSqlRunner kind;
} KnownRunner;

static HTAB *known = NULL;
static uint64 catalog_changes = 0;
static bool (*has_any_right) (void) = NULL;
static bool (*lesser_runs) (void) = NULL;

static void
forget(int cache, uint32 hash)
{
	catalog_changes++;
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
}

static bool
library_is(const char *library, const char *name)
{
	const char *slash = strrchr(library, '/');

	return strncmp(slash != NULL ? slash + 1 : library, name, strlen(name)) == 0;
}

/* A text that could be a statement, or names what one reads. */
static bool
takes_text(Form_pg_proc form)
{
	for (int i = 0; i < form->pronargs; i++)
	{
		switch (form->proargtypes.values[i])
		{
			case TEXTOID:
			case VARCHAROID:
			case NAMEOID:
			case REGCLASSOID:
			case REFCURSOROID:
				return true;
			default:
				break;
		}
	}
	return false;
}

/* Does a stored body, as it is written in the catalog, call what is refused to stored expressions? */
static bool
body_calls_one(const char *tree)
{
	const char *at = tree;

	while ((at = strstr(at, " :funcid ")) != NULL)
	{
		Oid			function;

		at += strlen(" :funcid ");
		function = strtoul(at, NULL, 10);
		if (dp_sql_runner_is_builtin(function) ||
			(function >= FirstNormalObjectId && dp_own_function_kind(function) >= DP_OWN_ENTRY))
			return true;
	}
	return false;
}

static bool
source_names_one(const char *source)
{
	static const char *const names[] = {"_to_xml", "ts_stat", "ts_rewrite", "set_config"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcasestr(source, names[i]) != NULL)
			return true;
	}
	return false;
}

/* ---- functions in procedural languages ---- */

/* Could an argument say, or name, what a statement is made of?  Not a number or a time. */
static bool
takes_words(Form_pg_proc form)
{
	for (int i = 0; i < form->pronargs; i++)
	{
		switch (form->proargtypes.values[i])
		{
			case BOOLOID:
			case INT2OID:
			case INT4OID:
			case INT8OID:
			case FLOAT4OID:
			case FLOAT8OID:
			case NUMERICOID:
			case DATEOID:
			case TIMEOID:
			case TIMETZOID:
			case TIMESTAMPOID:
			case TIMESTAMPTZOID:
			case INTERVALOID:
			case UUIDOID:
				break;
			default:
				return true;
		}
	}
	return false;
}

static bool
is_letter(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '$' || IS_HIGHBIT_SET(c);
}

/* The end of a string between quotes, or NULL where settings decide where that is. */
static const char *
after_quoted(const char *at, char quote, bool escapes)
{
	for (at++; *at != '\0'; at++)
	{
		if (*at == '\\' && quote == '\'')
		{
			if (!escapes)
				return NULL;
			if (at[1] != '\0')
				at++;
		}
		else if (*at == quote && at[1] == quote)
			at++;
		else if (*at == quote)
			return at + 1;
	}
	return at;
}

/* After $tag$ ... $tag$; what is no such string is one character. */
static const char *
after_dollars(const char *at)
{
	const char *end = at + 1;
	char	   *tag;

	while (*end != '$' && is_letter(*end))
		end++;
	if (*end != '$' || isdigit((unsigned char) at[1]))
		return at + 1;
	end++;
	tag = pnstrdup(at, end - at);
	at = strstr(end, tag);
	return at != NULL ? at + strlen(tag) : end + strlen(end);
}

/* After a comment; block comments nest. */
static const char *
after_comment(const char *at)
{
	int			depth = 1;

	if (*at == '-')
		return at + strcspn(at, "\r\n");
	for (at += 2; *at != '\0' && depth > 0; at++)
	{
		if (at[0] == '*' && at[1] == '/')
		{
			depth--;
			at++;
		}
		else if (at[0] == '/' && at[1] == '*')
		{
			depth++;
			at++;
		}
	}
	return at;
}

static bool
begins_comment(const char *at)
{
	return (at[0] == '-' && at[1] == '-') || (at[0] == '/' && at[1] == '*');
}

static bool
arguments_follow(const char *at)
{
	for (;;)
	{
		at += strspn(at, " \t\r\n\f\v");
		if (!begins_comment(at))
			return *at == '(';
		at = after_comment(at);
	}
}

/*
 * The next word of SQL, outside comments and strings, folded unless it is quoted; NULL where there is none.
 * *lost: where strings end hangs on settings, and the rest was not read.
 */
static char *
next_word(const char **source, bool *quoted, bool *lost)
{
	const char *at = *source;
	char	   *word = NULL;

	*lost = *quoted = false;
	while (at != NULL && *at != '\0' && word == NULL)
	{
		const char *start = at;

		if (is_letter(*at) && *at != '$')
		{
			while (is_letter(*at))
				at++;
			if (*at == '\'' && at - start == 1 && (*start == 'e' || *start == 'E'))
				at = after_quoted(at, '\'', true);
			else
				word = downcase_truncate_identifier(start, at - start, false);
		}
		else if (*at == '"')
		{
			at = after_quoted(at, '"', false);
			word = pnstrdup(start + 1, Max(at - start - 2, 0));
			*quoted = true;
		}
		else if (*at == '\'')
			at = after_quoted(at, *at, false);
		else if (*at == '$')
			at = after_dollars(at);
		else if (begins_comment(at))
			at = after_comment(at);
		else
			at++;
	}
	*lost = at == NULL;
	*source = at;
	return word;
}

/* Of those in C that may run SQL, many do not: here only those that are known to. */
static bool
hands_on(HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	DpSqlRunner kind;
	bool		isnull = true;
	Datum		library;

	if (form->prorettype == TRIGGEROID) /* nothing calls it by its name */
		return false;
	kind = dp_sql_runner_kind(form->oid);
	if (kind != DP_RUNNER_HERE && kind != DP_RUNNER_ELSEWHERE)
		return false;
	library = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin, &isnull);
	return form->prolang != ClanguageId || kind == DP_RUNNER_ELSEWHERE ||
		(!isnull && (library_is(TextDatumGetCString(library), "tablefunc") || library_is(TextDatumGetCString(library), "pgxml")));
}

/* Is one of the functions of that name a superuser's that runs what it is told? */
static bool
names_runner(const char *word)
{
	CatCList   *list;
	bool		found = false;

	if (strlen(word) >= NAMEDATALEN)
		return false;
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(word));
	for (int i = 0; i < list->n_members && !found; i++)
		found = hands_on(&list->members[i]->tuple);
	ReleaseSysCacheList(list);
	return found;
}

/*
 * Does a body in SQL or PL/pgSQL have the word EXECUTE (PL/pgSQL's own), or call a function that runs what it is
 * told, by its name?
 */
static bool
source_executes(const char *source, bool plpgsql)
{
	const char *at = source;
	bool		quoted;
	bool		lost;
	char	   *word;

	while ((word = next_word(&at, &quoted, &lost)) != NULL)
	{
		if (plpgsql && !quoted && strcmp(word, "execute") == 0)
			return true;
		if (arguments_follow(at) && names_runner(word))
			return true;
	}
	return lost && strcasestr(source, "execute") != NULL;
}

/* A body that runs statements which it has put together, by the words of its language for that. */
static bool
source_runs_text(const char *source)
{
	static const char *const words[] = {"execute", "spi_", "plpy", "plv8"};

	for (int i = 0; i < lengthof(words); i++)
	{
		if (strcasestr(source, words[i]) != NULL)
			return true;
	}
	return source_names_one(source);
}

static DpSqlRunner
judge_procedural(HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	bool		isnull;
	Datum		value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	char	   *source;
	bool		plpgsql;

	if (isnull || form->pronamespace == get_namespace_oid("dataprotect", true))
		return DP_RUNNER_NONE;
	if (form->prorettype != TRIGGEROID && !takes_words(form))
		return DP_RUNNER_NONE;
	source = TextDatumGetCString(value);
	plpgsql = form->prolang == get_language_oid("plpgsql", true);
	if (plpgsql ? !source_executes(source, true) && !source_names_one(source) : !source_runs_text(source))
		return DP_RUNNER_NONE;
	if (form->prorettype == TRIGGEROID)
		return strcasestr(source, plpgsql ? "tg_arg" : "args") != NULL ? DP_RUNNER_TRIGGER : DP_RUNNER_NONE;
	return DP_RUNNER_HERE;
}

/* A body that was stored as an expression calls them as stored expressions do; one in words may be put into its caller's. */
static DpSqlRunner
judge_sql(HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	bool		isnull;
	char	   *source;
	Datum		value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);

	if (!isnull)
		return body_calls_one(TextDatumGetCString(value)) ? DP_RUNNER_BODY : DP_RUNNER_NONE;
	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	if (isnull)
		return DP_RUNNER_NONE;
	source = TextDatumGetCString(value);
	if (form->pronamespace != get_namespace_oid("dataprotect", true) && takes_words(form) && source_executes(source, false))
		return DP_RUNNER_HERE;
	return source_names_one(source) ? DP_RUNNER_BODY : DP_RUNNER_NONE;
}

static DpSqlRunner
judge_by_row(HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	bool		isnull;
	Datum		value;
	char	   *library;

	if (form->prolang == INTERNALlanguageId || !superuser_arg(form->proowner))
		return DP_RUNNER_NONE;
	if (form->prolang == SQLlanguageId)
		return judge_sql(tuple);
	if (form->prolang != ClanguageId)
		return judge_procedural(tuple);
	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin, &isnull);
	if (isnull)
		return DP_RUNNER_NONE;
	library = TextDatumGetCString(value);
	if (library_is(library, "dataprotect"))
		return DP_RUNNER_NONE;
	if (library_is(library, "dblink") || library_is(library, "pg_cron") || library_is(library, "pg_background"))
		return DP_RUNNER_ELSEWHERE;
	if (form->prorettype == TRIGGEROID)
		return DP_RUNNER_TRIGGER;
	/* a search operator runs once a row, and is a matter of its arguments */
	if (form->provolatile == PROVOLATILE_IMMUTABLE || !takes_text(form) ||
		(form->provolatile == PROVOLATILE_STABLE && form->prorettype == BOOLOID))
		return DP_RUNNER_NONE;
	return DP_RUNNER_HERE;
}

/*
 * Functions that were met as the kind of one was found out; those that are not done count as NONE, as one that
 * calls itself is judged by what else it does.  For the outermost that is right: only what can run what it is told
 * is read at all, so that one found makes its callers such ones, up to the outermost, and ends the search.
 */
static HTAB *met = NULL;

static void
keep_kind(Oid function, DpSqlRunner kind)
{
	KnownRunner *entry;

	if (known == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(KnownRunner);
		ctl.hcxt = TopMemoryContext;
		known = hash_create("dataprotect functions that run SQL", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(known, &function, HASH_ENTER, NULL);
	entry->kind = kind;
}

/* The kind of one that the outermost calls, or its own. */
static DpSqlRunner
judge_met(Oid function, HeapTuple tuple)
{
	KnownRunner *entry;
	DpSqlRunner kind;
	bool		found;

	entry = hash_search(met, &function, HASH_ENTER, &found);
	if (found)
		return entry->kind;
	entry->kind = DP_RUNNER_NONE;
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	kind = judge_by_row(tuple);
	entry = hash_search(met, &function, HASH_FIND, NULL);
	return entry->kind = kind;
}

static DpSqlRunner
judge_outermost(Oid function, HeapTuple tuple)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dataprotect functions that are judged",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	HASHCTL		ctl = {0};
	DpSqlRunner kind;

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(KnownRunner);
	ctl.hcxt = context;
	PG_TRY();
	{
		met = hash_create("dataprotect functions that were met", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		kind = judge_met(function, tuple);
	}
	PG_FINALLY();
	{
		met = NULL;
		MemoryContextSwitchTo(old_context);
	}
	PG_END_TRY();
	MemoryContextDelete(context);
	return kind;
}

DpSqlRunner
dp_sql_runner_kind(Oid function)
{
	KnownRunner *entry;
	HeapTuple	tuple;
	DpSqlRunner kind;
	uint64		changes = catalog_changes;
	bool		outermost = met == NULL;

	if (function < FirstNormalObjectId)
		return DP_RUNNER_NONE;
	entry = known != NULL ? hash_search(known, &function, HASH_FIND, NULL) : NULL;
	if (entry != NULL)
		return entry->kind;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return DP_RUNNER_NONE;
	kind = outermost ? judge_outermost(function, tuple) : judge_met(function, tuple);
	ReleaseSysCache(tuple);

	/*
	 * What another calls may have been judged by less than all that it calls: kept where more would not change it.
	 * What changed while it was read is read again.
	 */
	if ((outermost || kind == DP_RUNNER_HERE || kind == DP_RUNNER_ELSEWHERE) && changes == catalog_changes)
		keep_kind(function, kind);
	return kind;
}

/* ---- who calls ---- */

bool
dp_sql_runner_administers(Oid role)
{
	static const char *const names[] = {"dataprotect_admin", "dataprotect_auditor"};

	for (int i = 0; i < lengthof(names); i++)
	{
		Oid			power = get_role_oid(names[i], true);

		if (OidIsValid(power) && has_privs_of_role(role, power))
			return true;
	}
	return false;
}

bool
dp_sql_runner_at_stake(void)
{
	return dp_sql_runner_administers(GetUserId()) || has_any_right();
}

/* A call is made ready to run, wherever it stands: its permission was checked. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	/* the extension's own script calls some before there is _own_sql */
	if (access != OAT_FUNCTION_EXECUTE || likely(!dp_sql_runner_is_builtin(object_id)) || creating_extension ||
		!dp_catalog_is_there() || dp_own_caller() ||
		!(dp_sql_runner_at_stake() || (object_id == F_SET_CONFIG && lesser_runs())))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 object_id == F_SET_CONFIG ?
			 errmsg("function %s cannot run for an expression that was stored", format_procedure(object_id)) :
			 errmsg("function %s cannot run SQL for an expression that was stored", format_procedure(object_id)),
			 errdetail("It would run with the rights of the current role, which did not write it."),
			 errhint("Call it in the statement itself, in a function, or in a view of a superuser's.")));
}

static const DpSubscriber subscriber = {
	.name = "functions that run SQL",
	.object_access = object_access,
};

void
dp_sql_runner_init(bool (*any_right) (void), bool (*lesser) (void))
{
	has_any_right = any_right;
	lesser_runs = lesser;
	dp_on_cache_change(PROCOID, forget);
	dp_on_cache_change(AUTHOID, forget);
	dp_statement_subscribe(&subscriber);
}
