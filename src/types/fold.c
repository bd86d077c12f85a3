/*
 * fold.c
 *	  What a text is folded to before it is compared; see fold.h.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/access.h"
#include "access/transam.h"
#include "base/compat.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "types/fold.h"
#include "types/row_condition.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_blind);
PG_FUNCTION_INFO_V1(dp_not_empty);

#define FOLD_ARGS_MAX 3			/* beside the text */

/*
 * A function whose first argument is what is folded.  whole: it tells no more of a
 * value than which others are alike.  op: the operator that it is written as.
 */
typedef struct Fold
{
	const char *name;
	Oid			function;
	bool		whole;
	Oid			from;
	Oid			to;
	int			n_args;
	Oid			args[FOLD_ARGS_MAX];
	const char *op;
} Fold;

static const Fold known_folds[] = {
	{"lower", F_LOWER_TEXT, true, TEXTOID, TEXTOID, 0},
	{"upper", F_UPPER_TEXT, true, TEXTOID, TEXTOID, 0},
	{"initcap", F_INITCAP, true, TEXTOID, TEXTOID, 0},
	{"btrim", F_BTRIM_TEXT, true, TEXTOID, TEXTOID, 0},
	{"ltrim", F_LTRIM_TEXT, true, TEXTOID, TEXTOID, 0},
	{"rtrim", F_RTRIM_TEXT, true, TEXTOID, TEXTOID, 0},
	{"md5", F_MD5_TEXT, true, TEXTOID, TEXTOID, 0},
	{"reverse", F_REVERSE_TEXT, true, TEXTOID, TEXTOID, 0},
	{"textcat", F_TEXTCAT, true, TEXTOID, TEXTOID, 1, {TEXTOID}, "||"},
	{"btrim", F_BTRIM_TEXT_TEXT, false, TEXTOID, TEXTOID, 1, {TEXTOID}},
	{"ltrim", F_LTRIM_TEXT_TEXT, false, TEXTOID, TEXTOID, 1, {TEXTOID}},
	{"rtrim", F_RTRIM_TEXT_TEXT, false, TEXTOID, TEXTOID, 1, {TEXTOID}},
	{"left", F_LEFT, false, TEXTOID, TEXTOID, 1, {INT4OID}},
	{"right", F_RIGHT, false, TEXTOID, TEXTOID, 1, {INT4OID}},
	{"substr", F_SUBSTR_TEXT_INT4, false, TEXTOID, TEXTOID, 1, {INT4OID}},
	{"substr", F_SUBSTR_TEXT_INT4_INT4, false, TEXTOID, TEXTOID, 2, {INT4OID, INT4OID}},
	{"substring", F_SUBSTRING_TEXT_INT4, false, TEXTOID, TEXTOID, 1, {INT4OID}},
	{"substring", F_SUBSTRING_TEXT_INT4_INT4, false, TEXTOID, TEXTOID, 2, {INT4OID, INT4OID}},
	{"split_part", F_SPLIT_PART, false, TEXTOID, TEXTOID, 2, {TEXTOID, INT4OID}},
	{"replace", F_REPLACE, false, TEXTOID, TEXTOID, 2, {TEXTOID, TEXTOID}},
	{"translate", F_TRANSLATE, false, TEXTOID, TEXTOID, 2, {TEXTOID, TEXTOID}},
	{"regexp_replace", F_REGEXP_REPLACE_TEXT_TEXT_TEXT, false, TEXTOID, TEXTOID, 2, {TEXTOID, TEXTOID}},
	{"regexp_replace", F_REGEXP_REPLACE_TEXT_TEXT_TEXT_TEXT, false, TEXTOID, TEXTOID, 3, {TEXTOID, TEXTOID, TEXTOID}},
	{"jsonb_object_field_text", F_JSONB_OBJECT_FIELD_TEXT, false, JSONBOID, TEXTOID, 1, {TEXTOID}, "->>"},
	{"jsonb_array_element_text", F_JSONB_ARRAY_ELEMENT_TEXT, false, JSONBOID, TEXTOID, 1, {INT4OID}, "->>"},
	{"jsonb_extract_path_text", F_JSONB_EXTRACT_PATH_TEXT, false, JSONBOID, TEXTOID, 1, {TEXTARRAYOID}, "#>>"},
	{"jsonb_object_field", F_JSONB_OBJECT_FIELD, false, JSONBOID, JSONBOID, 1, {TEXTOID}, "->"},
	{"jsonb_array_element", F_JSONB_ARRAY_ELEMENT, false, JSONBOID, JSONBOID, 1, {INT4OID}, "->"},
	{"jsonb_extract_path", F_JSONB_EXTRACT_PATH, false, JSONBOID, JSONBOID, 1, {TEXTARRAYOID}, "#>"},
};

/* One fold with its constants, as it is written in folds. */
typedef struct Step
{
	const Fold *fold;
	char	   *args[FOLD_ARGS_MAX];	/* texts; of an int4, digits */
	int			n_args;
} Step;

/* ---- as they are written ---- */

static bool
fits(const Fold *fold, const char *name, const Step *step)
{
	if (strcmp(fold->name, name) != 0 || fold->n_args != step->n_args)
		return false;
	for (int i = 0; i < step->n_args; i++)
	{
		/* what is quoted is a text */
		if ((fold->args[i] != INT4OID) != (step->args[i][0] == '\''))
			return false;
	}
	return true;
}

/* A quoted text, its quotes doubled, or digits; NULL where it is neither. */
static char *
read_arg(const char **at)
{
	const char *start = *at;
	const char *p = start;

	if (*p == '\'')
	{
		for (p++; *p != '\0' && (*p != '\'' || p[1] == '\''); p++)
			p += *p == '\'';
		if (*p++ != '\'')
			return NULL;
	}
	else
	{
		p += *p == '-';
		if (!isdigit((unsigned char) *p))
			return NULL;
		while (isdigit((unsigned char) *p))
			p++;
	}
	*at = p;
	return pnstrdup(start, p - start);
}

/*
 * Whoever owns a table may make an index without the right to read: how long a
 * pattern takes must not depend on what it meets.
 */
static bool
is_simple(const Step *step)
{
	return (step->fold->function != F_REGEXP_REPLACE_TEXT_TEXT_TEXT &&
			step->fold->function != F_REGEXP_REPLACE_TEXT_TEXT_TEXT_TEXT) ||
		(strpbrk(step->args[0], "(){}|*?") == NULL && strlen(step->args[0]) < 32);
}

/* The next step of folds; false where it is none. */
static bool
read_step(const char **at, Step *step)
{
	Size		len = strspn(*at, "abcdefghijklmnopqrstuvwxyz0123456789_");
	char	   *name = pnstrdup(*at, len);

	*at += len;
	step->n_args = 0;
	if (**at == '(')
	{
		do
		{
			(*at)++;
			if (step->n_args == FOLD_ARGS_MAX || (step->args[step->n_args] = read_arg(at)) == NULL)
				return false;
			step->n_args++;
		} while (**at == ',');
		if (*(*at)++ != ')')
			return false;
	}
	for (int i = 0; i < lengthof(known_folds); i++)
	{
		if (fits(&known_folds[i], name, step))
		{
			step->fold = &known_folds[i];
			return is_simple(step) && (**at == '\0' || (*(*at)++ == ' ' && **at != '\0'));
		}
	}
	return false;
}

static int
read_steps(const char *folds, Step steps[DP_FOLDS_MAX])
{
	const char *at = folds;
	int			n = 0;

	do
	{
		if (n == DP_FOLDS_MAX || !read_step(&at, &steps[n]) ||
			steps[n].fold->from != (n == 0 ? steps[0].fold->from : steps[n - 1].fold->to) ||
			(*at == '\0' && steps[n].fold->to != TEXTOID))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown fold \"%.*s\"", (int) Min(strlen(folds), 40), folds),
					 errhint("Folds are lower, upper, initcap, btrim, ltrim, rtrim and md5, and parts as left(3) and split_part('@',2), the innermost first.")));
		n++;
	} while (*at != '\0');
	return n;
}

/* The argument as a value. */
static Datum
arg_value(const char *arg, Oid type)
{
	StringInfoData buf;

	if (type == INT4OID)
		return Int32GetDatum(pg_strtoint32(arg));
	initStringInfo(&buf);
	for (const char *p = arg + 1; p[1] != '\0'; p++)
	{
		appendStringInfoChar(&buf, *p);
		p += *p == '\'';
	}
	if (type == TEXTARRAYOID)
		return OidInputFunctionCall(F_ARRAY_IN, buf.data, TEXTOID, -1);
	return PointerGetDatum(cstring_to_text_with_len(buf.data, buf.len));
}

/* It as an expression of SQL. */
static char *
print_arg(const char *arg, Oid type)
{
	if (type == INT4OID)
		return pstrdup(arg);
	return psprintf("%s::pg_catalog.text%s", quote_literal_cstr(TextDatumGetCString(arg_value(arg, TEXTOID))),
					type == TEXTARRAYOID ? "[]" : "");
}

bool
dp_folds_are_whole(const char *folds)
{
	Step		steps[DP_FOLDS_MAX];
	int			n = read_steps(folds, steps);
	bool		whole = true;

	for (int i = 0; i < n; i++)
		whole &= steps[i].fold->whole;
	return whole;
}

char *
dp_folds_print(const char *folds, const char *column)
{
	Step		steps[DP_FOLDS_MAX];
	int			n = read_steps(folds, steps);
	char	   *inner = pstrdup(column);

	for (int i = 0; i < n; i++)
	{
		StringInfoData buf;

		initStringInfo(&buf);
		if (steps[i].fold->op != NULL)
		{
			appendStringInfo(&buf, "(%s OPERATOR(pg_catalog.%s) %s)", inner, steps[i].fold->op,
							 print_arg(steps[i].args[0], steps[i].fold->args[0]));
			inner = buf.data;
			continue;
		}
		appendStringInfo(&buf, "pg_catalog.%s(%s", quote_identifier(steps[i].fold->name), inner);
		for (int a = 0; a < steps[i].n_args; a++)
			appendStringInfo(&buf, ", %s", print_arg(steps[i].args[a], steps[i].fold->args[a]));
		appendStringInfoChar(&buf, ')');
		inner = buf.data;
	}
	return inner;
}

/* ---- in queries and definitions ---- */

static Node *
skip_relabels(Node *expr)
{
	while (expr != NULL && IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	return expr;
}

/* A constant as an argument is written, or NULL. */
static char *
write_arg(Node *expr, Oid type)
{
	const Const *constant = (const Const *) skip_relabels(expr);
	StringInfoData buf;

	if (constant == NULL || !IsA(constant, Const) || constant->constisnull || constant->consttype != type)
		return NULL;
	if (type == INT4OID)
		return psprintf("%d", DatumGetInt32(constant->constvalue));
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '\'');
	for (const char *p = type == TEXTARRAYOID ? OidOutputFunctionCall(F_ARRAY_OUT, constant->constvalue) :
		 TextDatumGetCString(constant->constvalue); *p != '\0'; p++)
	{
		if (*p == '\'')
			appendStringInfoChar(&buf, '\'');
		appendStringInfoChar(&buf, *p);
	}
	appendStringInfoChar(&buf, '\'');
	return buf.data;
}

/* An overload of the same name that an encrypted type has of its own is that function. */
static const Fold *
fold_calling(Oid function, List *args)
{
	char	   *name = NULL;

	if (function >= FirstNormalObjectId)
	{
		if (args == NIL || !dp_type_is_encrypted(exprType(linitial(args))) ||
			get_func_namespace(function) != PG_CATALOG_NAMESPACE)
			return NULL;
		name = get_func_name(function);
	}
	for (int i = 0; i < lengthof(known_folds); i++)
	{
		const Fold *fold = &known_folds[i];
		bool		same = name == NULL ? fold->function == function : strcmp(fold->name, name) == 0;

		if (!same || list_length(args) != fold->n_args + 1 ||
			(name != NULL && dp_typeinfo_get(exprType(linitial(args)))->base_oid != fold->from))
			continue;
		for (int a = 0; a < fold->n_args; a++)
			same &= exprType(list_nth(args, a + 1)) == fold->args[a];
		if (same)
			return fold;
	}
	return NULL;
}

/* A fold of something, as it is written, or NULL; its first argument. */
static char *
write_step(Node *expr, const Fold **fold, Node **folded)
{
	StringInfoData buf;
	const char *at;
	List	   *args;
	Oid			function;
	Step		step;

	if (expr == NULL || !(IsA(expr, FuncExpr) || IsA(expr, OpExpr)))
		return NULL;
	args = IsA(expr, FuncExpr) ? ((FuncExpr *) expr)->args : ((OpExpr *) expr)->args;
	function = IsA(expr, FuncExpr) ? ((FuncExpr *) expr)->funcid : get_opcode(((OpExpr *) expr)->opno);
	*fold = fold_calling(function, args);
	if (*fold == NULL)
		return NULL;
	initStringInfo(&buf);
	appendStringInfoString(&buf, (*fold)->name);
	for (int a = 0; a < (*fold)->n_args; a++)
	{
		char	   *arg = write_arg(list_nth(args, a + 1), (*fold)->args[a]);

		if (arg == NULL)
			return NULL;
		appendStringInfo(&buf, "%c%s", a == 0 ? '(' : ',', arg);
	}
	if ((*fold)->n_args > 0)
		appendStringInfoChar(&buf, ')');
	*folded = skip_relabels(linitial(args));
	at = buf.data;
	return read_step(&at, &step) ? buf.data : NULL;
}

/* The column under the cast that would show its value, or under none. */
static Var *
find_column(Node *expr, Oid base)
{
	expr = skip_relabels(expr);
	if (expr != NULL && IsA(expr, FuncExpr) && list_length(((FuncExpr *) expr)->args) == 1 &&
		((FuncExpr *) expr)->funcresulttype == base &&
		dp_type_is_encrypted(exprType(linitial(((FuncExpr *) expr)->args))) &&
		((FuncExpr *) expr)->funcformat != COERCE_EXPLICIT_CALL)
		expr = skip_relabels(linitial(((FuncExpr *) expr)->args));
	return expr != NULL && IsA(expr, Var) ? (Var *) expr : NULL;
}

bool
dp_fold_of(Node *expr, char *folds, Var **out_var)
{
	char	   *found[DP_FOLDS_MAX];
	const Fold *fold = NULL;
	const Fold *next;
	Node	   *folded;
	int			n = 0;

	for (expr = skip_relabels(expr);
		 n < DP_FOLDS_MAX && (found[n] = write_step(expr, &next, &folded)) != NULL; n++)
	{
		if (next->to != (fold != NULL ? fold->from : TEXTOID))
			return false;
		fold = next;
		expr = folded;
	}
	if (n == 0 || (*out_var = find_column(expr, fold->from)) == NULL ||
		(dp_type_is_encrypted((*out_var)->vartype) && dp_typeinfo_get((*out_var)->vartype)->base_oid != fold->from))
		return false;
	for (folds[0] = '\0'; n > 0; n--)
	{
		if (strlen(folds) + strlen(found[n - 1]) + 2 > DP_FOLDS_LEN)
			return false;
		if (folds[0] != '\0')
			strlcat(folds, " ", DP_FOLDS_LEN);
		strlcat(folds, found[n - 1], DP_FOLDS_LEN);
	}
	return true;
}

static bool
is_ours(Oid function, const char *wanted)
{
	char	   *name;

	if (function < FirstNormalObjectId)
		return false;
	name = get_func_name(function);
	if (name == NULL || strcmp(name, wanted) != 0)
		return false;
	name = get_namespace_name(get_func_namespace(function));
	return name != NULL && strcmp(name, "dataprotect") == 0;
}

bool
dp_fold_is_blind(Oid function)
{
	return is_ours(function, "blind");
}

bool
dp_fold_is_empty_text(const Const *constant)
{
	DpEnvelope	env;
	struct varlena *datum;

	if (!IsA(constant, Const) || constant->constisnull)
		return false;
	if (constant->consttype == TEXTOID)
		return VARSIZE_ANY_EXHDR(PG_DETOAST_DATUM_PACKED(constant->constvalue)) == 0;
	if (!dp_type_is_encrypted(constant->consttype))
		return false;
	datum = PG_DETOAST_DATUM_PACKED(constant->constvalue);
	return dp_envelope_parse((const uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env) &&
		(env.flags & (DP_ENV_LITERAL | DP_ENV_COMPRESSED | DP_ENV_PADDED)) == DP_ENV_LITERAL && env.ciphertext_len == 0;
}

Var *
dp_fold_emptiness_of(Node *expr, bool *by_length)
{
	char	   *name;
	List	   *args;

	*by_length = false;
	if (expr != NULL && IsA(expr, FuncExpr) && list_length(((FuncExpr *) expr)->args) == 1 &&
		is_ours(((FuncExpr *) expr)->funcid, "not_empty"))
	{
		*by_length = true;
		expr = linitial(((FuncExpr *) expr)->args);
		return IsA(expr, Var) ? (Var *) expr : NULL;
	}
	if (expr == NULL || !IsA(expr, OpExpr) || list_length(((OpExpr *) expr)->args) != 2)
		return NULL;
	args = ((OpExpr *) expr)->args;
	name = get_opname(((OpExpr *) expr)->opno);
	if (name == NULL || strcmp(name, "<>") != 0 || !dp_fold_is_empty_text((const Const *) skip_relabels(lsecond(args))))
		return NULL;
	return find_column(linitial(args), TEXTOID);
}

/* ---- as they are evaluated ---- */

/*
 * What stands for NULL: an index does not count how many values have no such
 * member, as its number of entries would.
 */
#define NO_OUTCOME "\001\002\003 none"

/* Fold a plaintext, which is wiped. */
static void
fold_plain(const DpTypeInfo *info, Datum *plain, const char *folds, Oid collation)
{
	Step		steps[DP_FOLDS_MAX];
	int			n = read_steps(folds, steps);

	if (steps[0].fold->from != info->base_oid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("fold \"%s\" does not apply to type %s", steps[0].fold->name, info->name)));
	for (int i = 0; i < n; i++)
	{
		LOCAL_FCINFO(call, 1 + FOLD_ARGS_MAX);
		FmgrInfo	flinfo;
		Datum		folded;

		fmgr_info(steps[i].fold->function, &flinfo);
		InitFunctionCallInfoData(*call, &flinfo, 1 + steps[i].n_args, collation, NULL, NULL);
		call->args[0].value = *plain;
		call->args[0].isnull = false;
		for (int a = 0; a < steps[i].n_args; a++)
		{
			call->args[a + 1].value = arg_value(steps[i].args[a], steps[i].fold->args[a]);
			call->args[a + 1].isnull = false;
		}
		folded = FunctionCallInvoke(call);
		if (call->isnull)
			folded = CStringGetTextDatum(NO_OUTCOME);
		if (folded != *plain)
			dp_value_dispose(info, *plain);
		*plain = folded;
		if (call->isnull)
			break;
		info = dp_typeinfo_get(dp_typeinfo_encrypted_over(steps[i].fold->to));
	}
}

/*
 * A part of a value would tell letter by letter to who may only search, or only
 * write: but for an index's own evaluation it is for who may read.
 */
static void
check_part(FunctionCallInfo fcinfo, const DpValue *value, const char *folds)
{
	if (value->literal || dp_folds_are_whole(folds) || dp_row_condition_is_stored(fcinfo->flinfo) ||
		dp_access_privilege(value->family) == DP_PRIV_REVEAL)
		return;
	dp_access_denied(value->family, "reveal");
}

/*
 * dataprotect.blind(value encrypted_text or encrypted_jsonb, folds text) returns encrypted_text
 * NULL where the key is destroyed.
 */
Datum
dp_blind(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	const DpTypeInfo *to = dp_typeinfo_get(dp_typeinfo_signature(fcinfo->flinfo->fn_oid)->rettype);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	char	   *folds = text_to_cstring(PG_GETARG_TEXT_PP(1));
	struct varlena *result;
	DpValue		value;
	Datum		plain;

	dp_value_parse(datum, false, &value);
	check_part(fcinfo, &value, folds);
	if (!dp_value_open(info, &value, DP_USE_MAINTAIN, false, &plain))
		PG_RETURN_NULL();
	fold_plain(info, &plain, folds, PG_GET_COLLATION());
	result = dp_value_seal_derived(to, &value, folds, plain);
	dp_value_dispose(to, plain);
	PG_RETURN_POINTER(result);
}

/*
 * dataprotect.not_empty(value encrypted_text) returns bool
 * By the length of what is sealed, which everybody sees.
 */
Datum
dp_not_empty(PG_FUNCTION_ARGS)
{
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	DpEnvelope	env;

	if (!dp_envelope_parse((const uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("malformed value of an encrypted type")));
	if ((env.flags & DP_ENV_PADDED) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("whether a padded value is empty is not told by its length"),
				 errhint("Compare the column with the empty text.")));
	PG_RETURN_BOOL(env.ciphertext_len > 0);
}
