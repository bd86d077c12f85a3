/*
 * formula.c
 *	  What a generated column computes, written down; see formula.h.
 *
 *		term:	$1				a column
 *				'text'  3		constants; quotes are doubled
 *				name(term,...)	an operation, or coalesce
 */
#include "postgres.h"

#include <ctype.h>

#include "base/compat.h"
#include "base/secret.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "types/formula.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define TERM_ARGS_MAX 16
#define OPERATION_ARGS_MAX 3
#define DEPTH_MAX 32
#define FORMULA_LEN_MAX 4096
#define PART_MAX 1000000		/* of left() and its like */

/*
 * An operation.  Arguments of type int4, "char" and regconfig are constants, the last a name of
 * pg_catalog; constant: so is that text as well, counted from 1.
 */
typedef struct Operation
{
	const char *name;
	Oid			function;
	bool		whole;
	const char *written;		/* in SQL: a function, or an operator */
	Oid			result;
	int			constant;
	int			n_args;
	Oid			args[OPERATION_ARGS_MAX];
} Operation;

static const Operation operations[] = {
	{"lower", F_LOWER_TEXT, true, "lower", TEXTOID, 0, 1, {TEXTOID}},
	{"upper", F_UPPER_TEXT, true, "upper", TEXTOID, 0, 1, {TEXTOID}},
	{"initcap", F_INITCAP, true, "initcap", TEXTOID, 0, 1, {TEXTOID}},
	{"btrim", F_BTRIM_TEXT, true, "btrim", TEXTOID, 0, 1, {TEXTOID}},
	{"ltrim", F_LTRIM_TEXT, true, "ltrim", TEXTOID, 0, 1, {TEXTOID}},
	{"rtrim", F_RTRIM_TEXT, true, "rtrim", TEXTOID, 0, 1, {TEXTOID}},
	{"md5", F_MD5_TEXT, true, "md5", TEXTOID, 0, 1, {TEXTOID}},
	{"concat", F_TEXTCAT, true, "||", TEXTOID, 0, 2, {TEXTOID, TEXTOID}},
	{"left", F_LEFT, false, "left", TEXTOID, 0, 2, {TEXTOID, INT4OID}},
	{"right", F_RIGHT, false, "right", TEXTOID, 0, 2, {TEXTOID, INT4OID}},
	{"substr", F_SUBSTR_TEXT_INT4, false, "substr", TEXTOID, 0, 2, {TEXTOID, INT4OID}},
	{"substring", F_SUBSTRING_TEXT_INT4, false, "substring", TEXTOID, 0, 2, {TEXTOID, INT4OID}},
	{"to_tsvector", F_TO_TSVECTOR_REGCONFIG_TEXT, true, "to_tsvector", TSVECTOROID, 0, 2, {REGCONFIGOID, TEXTOID}},
	{"to_tsvector_jsonb", F_TO_TSVECTOR_REGCONFIG_JSONB, true, "to_tsvector", TSVECTOROID, 0, 2, {REGCONFIGOID, JSONBOID}},
	{"setweight", F_SETWEIGHT_TSVECTOR_CHAR, true, "setweight", TSVECTOROID, 0, 2, {TSVECTOROID, CHAROID}},
	{"concat_tsvector", F_TSVECTOR_CONCAT, true, "||", TSVECTOROID, 0, 2, {TSVECTOROID, TSVECTOROID}},
	{"strip", F_STRIP, true, "strip", TSVECTOROID, 0, 1, {TSVECTOROID}},
	{"split_part", F_SPLIT_PART, false, "split_part", TEXTOID, 2, 3, {TEXTOID, TEXTOID, INT4OID}},
	{"member", F_JSONB_OBJECT_FIELD_TEXT, false, "->>", TEXTOID, 2, 2, {JSONBOID, TEXTOID}},
};

typedef enum TermKind
{
	TERM_COLUMN,
	TERM_TEXT,
	TERM_NUMBER,
	TERM_OPERATION,
	TERM_COALESCE
} TermKind;

typedef struct Term
{
	TermKind	kind;
	int			column;			/* from 0 */
	char	   *text;			/* of constants; of numbers, the digits */
	const Operation *operation;
	int			n_args;
	struct Term *args[TERM_ARGS_MAX];
} Term;

struct DpFormula
{
	Term	   *root;
	bool		whole;
};

/* ---- as it is written ---- */

typedef struct Reader
{
	const char *text;
	const char *at;
	DpFormula  *formula;
	int			depth;
	bool		lenient;
} Reader;

/* NULL, for a formula that is only tried. */
static void *
report_malformed(const Reader *reader)
{
	const char *text = reader->text;

	if (reader->lenient)
		return NULL;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid formula \"%.*s\"", (int) Min(strlen(text), 60), text),
			 errhint("A formula is a column as $1, or lower(), upper(), initcap(), btrim(), ltrim(), rtrim(), md5(), concat(), coalesce(), left(), right(), substr(), split_part(), member(), to_tsvector(), setweight(), concat_tsvector() or strip() of such.")));
}

static Term *
make_term(TermKind kind)
{
	Term	   *term = palloc0(sizeof(Term));

	term->kind = kind;
	return term;
}

static Term *
read_quoted(Reader *reader)
{
	Term	   *term = make_term(TERM_TEXT);
	StringInfoData buf;

	initStringInfo(&buf);
	for (reader->at++;; reader->at++)
	{
		if (*reader->at == '\0')
			return report_malformed(reader);
		if (*reader->at == '\'' && *++reader->at != '\'')
			break;
		appendStringInfoChar(&buf, *reader->at);
	}
	term->text = buf.data;
	return term;
}

static Term *
read_digits(Reader *reader, TermKind kind)
{
	const char *start = reader->at;
	Term	   *term = make_term(kind);

	if (kind == TERM_NUMBER && *reader->at == '-')
		reader->at++;
	if (!isdigit((unsigned char) *reader->at))
		return report_malformed(reader);
	while (isdigit((unsigned char) *reader->at))
		reader->at++;
	if (reader->at - start > 8)
		return report_malformed(reader);
	term->text = pnstrdup(start, reader->at - start);
	term->column = kind == TERM_COLUMN ? atoi(term->text) - 1 : 0;
	if (term->column < 0 || term->column >= DP_FORMULA_COLUMNS)
		return report_malformed(reader);
	return term;
}

/* Does a term fit in the place of an argument, as far as can be told without the columns' types? */
static bool
may_be_argument(const Operation *operation, int place, const Term *term)
{
	switch (operation->args[place])
	{
		case INT4OID:
			return term->kind == TERM_NUMBER && abs(atoi(term->text)) <= PART_MAX;
		case CHAROID:
			return term->kind == TERM_TEXT && strlen(term->text) == 1 && strchr("ABCDabcd", term->text[0]) != NULL;
		case REGCONFIGOID:
			return term->kind == TERM_TEXT;
		case TEXTOID:
			return operation->constant == place + 1 ? term->kind == TERM_TEXT : term->kind != TERM_NUMBER;
		default:
			return term->kind != TERM_NUMBER && term->kind != TERM_TEXT;
	}
}

static const Operation *
find_operation(const char *name, const Term *term)
{
	for (int i = 0; i < lengthof(operations); i++)
	{
		bool		fits = strcmp(operations[i].name, name) == 0 && operations[i].n_args == term->n_args;

		for (int a = 0; a < term->n_args && fits; a++)
			fits = may_be_argument(&operations[i], a, term->args[a]);
		if (fits)
			return &operations[i];
	}
	return NULL;
}

static bool
coalesces(const Term *term)
{
	for (int i = 0; i < term->n_args; i++)
	{
		if (term->args[i]->kind == TERM_NUMBER)
			return false;
	}
	return true;
}

static Term *read_term(Reader *reader);

static Term *
read_call(Reader *reader)
{
	Size		len = strspn(reader->at, "abcdefghijklmnopqrstuvwxyz0123456789_");
	char	   *name = pnstrdup(reader->at, len);
	Term	   *term = make_term(TERM_OPERATION);

	reader->at += len;
	if (len == 0 || *reader->at != '(')
		return report_malformed(reader);
	do
	{
		reader->at++;
		if (term->n_args == TERM_ARGS_MAX)
			return report_malformed(reader);
		term->args[term->n_args] = read_term(reader);
		if (term->args[term->n_args++] == NULL)
			return NULL;
	} while (*reader->at == ',');
	if (*reader->at++ != ')')
		return report_malformed(reader);
	if (strcmp(name, "coalesce") == 0 && coalesces(term))
		term->kind = TERM_COALESCE;
	else if ((term->operation = find_operation(name, term)) == NULL)
		return report_malformed(reader);
	else
		reader->formula->whole &= term->operation->whole;
	return term;
}

static Term *
read_term(Reader *reader)
{
	Term	   *term;

	check_stack_depth();
	if (++reader->depth > DEPTH_MAX)
		return report_malformed(reader);
	if (*reader->at == '$')
	{
		reader->at++;
		term = read_digits(reader, TERM_COLUMN);
	}
	else if (*reader->at == '\'')
		term = read_quoted(reader);
	else if (*reader->at == '-' || isdigit((unsigned char) *reader->at))
		term = read_digits(reader, TERM_NUMBER);
	else
		term = read_call(reader);
	reader->depth--;
	return term;
}

DpFormula *
dp_formula_read(const char *text)
{
	DpFormula  *formula = palloc0(sizeof(DpFormula));
	Reader		reader = {.text = text,.at = text,.formula = formula};

	if (strlen(text) > FORMULA_LEN_MAX)
		(void) report_malformed(&reader);
	formula->whole = true;
	formula->root = read_term(&reader);
	if (*reader.at != '\0' || formula->root->kind == TERM_NUMBER)
		(void) report_malformed(&reader);
	return formula;
}

bool
dp_formula_is_whole(const DpFormula *formula)
{
	return formula->whole;
}

static int
uses(const Term *term, int column)
{
	int			n = term->kind == TERM_COLUMN && term->column == column ? 1 : 0;

	for (int i = 0; i < term->n_args; i++)
		n += uses(term->args[i], column);
	return n;
}

int
dp_formula_uses(const DpFormula *formula, int column)
{
	return uses(formula->root, column);
}

static Size
constants_len(const Term *term)
{
	Size		len = term->kind == TERM_TEXT ? strlen(term->text) : 0;

	for (int i = 0; i < term->n_args; i++)
		len += constants_len(term->args[i]);
	return len;
}

Size
dp_formula_constants_len(const DpFormula *formula)
{
	return constants_len(formula->root);
}

/* ---- types ---- */

pg_noreturn static void
report_misfit(Oid type, Oid wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("a formula has a value of type %s where it needs one of type %s",
					format_type_be(type), format_type_be(wanted))));
}

static Oid
term_type(const Term *term, const Oid *types, int n)
{
	Oid			type;

	switch (term->kind)
	{
		case TERM_COLUMN:
			if (term->column >= n)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("a formula names column $%d, and there are %d", term->column + 1, n)));
			return types[term->column];
		case TERM_TEXT:
			return TEXTOID;
		case TERM_NUMBER:
			return INT4OID;
		case TERM_COALESCE:
			type = term_type(term->args[0], types, n);
			for (int i = 1; i < term->n_args; i++)
			{
				if (term_type(term->args[i], types, n) != type)
					report_misfit(term_type(term->args[i], types, n), type);
			}
			return type;
		case TERM_OPERATION:
			for (int i = 0; i < term->n_args; i++)
			{
				Oid			wanted = term->operation->args[i];

				type = term_type(term->args[i], types, n);
				if (type != wanted && wanted != CHAROID && wanted != REGCONFIGOID)
					report_misfit(type, wanted);
			}
			break;
	}
	return term->operation->result;
}

Oid
dp_formula_type(const DpFormula *formula, const Oid *types, int n)
{
	return term_type(formula->root, types, n);
}

/* ---- as SQL has it ---- */

static void print_term(StringInfo buf, const Term *term, char *const *columns, int n);

static void
print_operation(StringInfo buf, const Term *term, char *const *columns, int n)
{
	bool		infix = !isalpha((unsigned char) term->operation->written[0]);

	if (!infix)
		appendStringInfo(buf, "pg_catalog.%s", quote_identifier(term->operation->written));
	appendStringInfoChar(buf, '(');
	for (int i = 0; i < term->n_args; i++)
	{
		if (i > 0 && infix)
			appendStringInfo(buf, " OPERATOR(pg_catalog.%s) ", term->operation->written);
		else if (i > 0)
			appendStringInfoString(buf, ", ");
		if (term->operation->args[i] == CHAROID)
			appendStringInfo(buf, "%s::pg_catalog.\"char\"", quote_literal_cstr(term->args[i]->text));
		else if (term->operation->args[i] == REGCONFIGOID)
			appendStringInfo(buf, "%s::pg_catalog.regconfig",
							 quote_literal_cstr(psprintf("pg_catalog.%s", quote_identifier(term->args[i]->text))));
		else
			print_term(buf, term->args[i], columns, n);
	}
	appendStringInfoChar(buf, ')');
}

static void
print_term(StringInfo buf, const Term *term, char *const *columns, int n)
{
	switch (term->kind)
	{
		case TERM_COLUMN:
			appendStringInfoString(buf, term->column < n ? columns[term->column] : "NULL");
			break;
		case TERM_TEXT:
			appendStringInfo(buf, "%s::pg_catalog.text", quote_literal_cstr(term->text));
			break;
		case TERM_NUMBER:
			appendStringInfo(buf, "(%s)", term->text);
			break;
		case TERM_COALESCE:
			appendStringInfoString(buf, "COALESCE(");
			for (int i = 0; i < term->n_args; i++)
			{
				appendStringInfoString(buf, i > 0 ? ", " : "");
				print_term(buf, term->args[i], columns, n);
			}
			appendStringInfoChar(buf, ')');
			break;
		case TERM_OPERATION:
			print_operation(buf, term, columns, n);
			break;
	}
}

char *
dp_formula_print(const DpFormula *formula, char *const *columns, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	print_term(&buf, formula->root, columns, n);
	return buf.data;
}

/* ---- of an expression ---- */

typedef struct Writer
{
	StringInfoData buf;
	AttrNumber *columns;
	int		   *n;
} Writer;

static Node *
skip_relabels(Node *expr)
{
	while (expr != NULL && IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	return expr;
}

static void
write_quoted(StringInfo buf, const char *text)
{
	appendStringInfoChar(buf, '\'');
	for (; *text != '\0'; text++)
	{
		if (*text == '\'')
			appendStringInfoChar(buf, '\'');
		appendStringInfoChar(buf, *text);
	}
	appendStringInfoChar(buf, '\'');
}

/* The name of a configuration of PostgreSQL's own; NULL of others, which their owners change. */
static char *
config_name(Oid config)
{
	HeapTuple	tuple = SearchSysCache1(TSCONFIGOID, ObjectIdGetDatum(config));
	char	   *name = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	if (((Form_pg_ts_config) GETSTRUCT(tuple))->cfgnamespace == PG_CATALOG_NAMESPACE)
		name = pstrdup(NameStr(((Form_pg_ts_config) GETSTRUCT(tuple))->cfgname));
	ReleaseSysCache(tuple);
	return name;
}

static bool
write_constant(Writer *writer, const Const *constant, Oid wanted)
{
	char		letter[2] = {'\0', '\0'};
	char	   *name;

	if (constant->constisnull || (constant->consttype == VARCHAROID ? TEXTOID : constant->consttype) != wanted)
		return false;
	switch (wanted)
	{
		case TEXTOID:
			write_quoted(&writer->buf, TextDatumGetCString(constant->constvalue));
			return true;
		case INT4OID:
			appendStringInfo(&writer->buf, "%d", DatumGetInt32(constant->constvalue));
			return true;
		case CHAROID:
			letter[0] = DatumGetChar(constant->constvalue);
			write_quoted(&writer->buf, letter);
			return true;
		case REGCONFIGOID:
			name = config_name(DatumGetObjectId(constant->constvalue));
			if (name != NULL)
				write_quoted(&writer->buf, name);
			return name != NULL;
		default:
			return false;
	}
}

static bool
write_column(Writer *writer, const Var *var, Oid wanted)
{
	Oid			type = var->vartype == VARCHAROID ? TEXTOID : var->vartype;
	int			i = 0;

	if (type != wanted || var->varattno <= 0)
		return false;
	while (i < *writer->n && writer->columns[i] != var->varattno)
		i++;
	if (i == DP_FORMULA_COLUMNS)
		return false;
	if (i == *writer->n)
		writer->columns[(*writer->n)++] = var->varattno;
	appendStringInfo(&writer->buf, "$%d", i + 1);
	return true;
}

static bool write_expression(Writer *writer, Node *expr, Oid wanted);

static bool
write_arguments(Writer *writer, const char *name, List *args, const Operation *operation, Oid wanted)
{
	appendStringInfo(&writer->buf, "%s(", name);
	for (int i = 0; i < list_length(args); i++)
	{
		if (i > 0)
			appendStringInfoChar(&writer->buf, ',');
		if (!write_expression(writer, list_nth(args, i), operation != NULL ? operation->args[i] : wanted))
			return false;
	}
	appendStringInfoChar(&writer->buf, ')');
	return true;
}

static bool
write_expression(Writer *writer, Node *expr, Oid wanted)
{
	Oid			function;
	List	   *args;

	check_stack_depth();
	expr = skip_relabels(expr);
	if (expr == NULL)
		return false;
	switch (nodeTag(expr))
	{
		case T_Var:
			return write_column(writer, (Var *) expr, wanted);
		case T_Const:
			return write_constant(writer, (Const *) expr, wanted);
		case T_CoalesceExpr:
			args = ((CoalesceExpr *) expr)->args;
			return list_length(args) <= TERM_ARGS_MAX && write_arguments(writer, "coalesce", args, NULL, wanted);
		case T_FuncExpr:
			function = ((FuncExpr *) expr)->funcid;
			args = ((FuncExpr *) expr)->args;
			break;
		case T_OpExpr:
			function = get_opcode(((OpExpr *) expr)->opno);
			args = ((OpExpr *) expr)->args;
			break;
		default:
			return false;
	}
	for (int i = 0; i < lengthof(operations); i++)
	{
		if (operations[i].function == function && operations[i].result == wanted && operations[i].n_args == list_length(args))
			return write_arguments(writer, operations[i].name, args, &operations[i], InvalidOid);
	}
	return false;
}

/* Without what fits the result to the column's own length. */
static Node *
skip_length(Node *expr)
{
	FuncExpr   *call = (FuncExpr *) expr;

	return expr != NULL && IsA(expr, FuncExpr) && call->funcid == F_VARCHAR_VARCHAR_INT4_BOOL &&
		call->funcformat == COERCE_IMPLICIT_CAST ? linitial(call->args) : expr;
}

/* Is it a formula that can be read again?  A column in the place of a constant is none. */
static bool
is_readable(const char *text)
{
	DpFormula	formula = {.whole = true};
	Reader		reader = {.text = text,.at = text,.formula = &formula,.lenient = true};
	Term	   *root = read_term(&reader);

	return root != NULL && *reader.at == '\0';
}

char *
dp_formula_of(Node *expr, AttrNumber *columns, int *n)
{
	Writer		writer = {.columns = columns,.n = n};
	Oid			type = exprType(expr) == VARCHAROID ? TEXTOID : exprType(expr);

	*n = 0;
	initStringInfo(&writer.buf);
	return write_expression(&writer, skip_length(expr), type) && is_readable(writer.buf.data) ? writer.buf.data : NULL;
}

/* ---- as it is computed ---- */

typedef struct Run
{
	const Datum *values;
	const bool *nulls;
	int			n;
	Oid			collation;
} Run;

static Datum
constant_value(const Term *term, Oid type)
{
	switch (type)
	{
		case INT4OID:
			return Int32GetDatum(atoi(term->text));
		case CHAROID:
			return CharGetDatum(term->text[0]);
		case REGCONFIGOID:
			return DirectFunctionCall1(regconfigin, CStringGetDatum(psprintf("pg_catalog.%s", quote_identifier(term->text))));
		default:
			return CStringGetTextDatum(term->text);
	}
}

static void
wipe(Datum value)
{
	struct varlena *datum = (struct varlena *) DatumGetPointer(value);

	dp_secret_wipe(VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum));
	pfree(datum);
}

static bool compute(const Run *run, const Term *term, Datum *result);

/* Is what was computed for an argument of its own, and no value that was given? */
static bool
is_intermediate(const Run *run, Datum value)
{
	for (int i = 0; i < run->n; i++)
	{
		if (!run->nulls[i] && run->values[i] == value)
			return false;
	}
	return true;
}

static bool
compute_operation(const Run *run, const Term *term, Datum *result)
{
	LOCAL_FCINFO(call, OPERATION_ARGS_MAX);
	FmgrInfo	flinfo;
	bool		isnull = false;

	fmgr_info(term->operation->function, &flinfo);
	InitFunctionCallInfoData(*call, &flinfo, term->n_args, run->collation, NULL, NULL);
	for (int i = 0; i < term->n_args; i++)
	{
		Oid			type = term->operation->args[i];

		call->args[i].isnull = false;
		if (term->args[i]->kind == TERM_TEXT || term->args[i]->kind == TERM_NUMBER)
			call->args[i].value = constant_value(term->args[i], type);
		else
			call->args[i].isnull = !compute(run, term->args[i], &call->args[i].value);
		isnull |= call->args[i].isnull;
	}
	if (!isnull)
	{
		*result = FunctionCallInvoke(call);
		isnull = call->isnull;
	}
	for (int i = 0; i < term->n_args; i++)
	{
		Datum		value = call->args[i].value;

		if (term->args[i]->kind != TERM_TEXT && term->args[i]->kind != TERM_NUMBER && !call->args[i].isnull &&
			(isnull || value != *result) && is_intermediate(run, value))
			wipe(value);
	}
	return !isnull;
}

static bool
compute(const Run *run, const Term *term, Datum *result)
{
	switch (term->kind)
	{
		case TERM_COLUMN:
			*result = run->values[term->column];
			return !run->nulls[term->column];
		case TERM_TEXT:
		case TERM_NUMBER:
			*result = constant_value(term, TEXTOID);
			return true;
		case TERM_COALESCE:
			for (int i = 0; i < term->n_args; i++)
			{
				if (compute(run, term->args[i], result))
					return true;
			}
			return false;
		case TERM_OPERATION:
			break;
	}
	return compute_operation(run, term, result);
}

bool
dp_formula_compute(const DpFormula *formula, const Datum *values, const bool *nulls, int n, Oid collation, Datum *result)
{
	Run			run = {values, nulls, n, collation};

	return compute(&run, formula->root, result);
}
