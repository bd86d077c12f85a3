/*
 * fold.c
 *	  What a text is folded to before it is compared; see fold.h.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "types/fold.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_blind);

typedef struct Fold
{
	const char *name;
	Oid			function;
} Fold;

static const Fold known_folds[] = {
	{"lower", F_LOWER_TEXT},
	{"upper", F_UPPER_TEXT},
	{"initcap", F_INITCAP},
	{"btrim", F_BTRIM_TEXT},
	{"ltrim", F_LTRIM_TEXT},
	{"rtrim", F_RTRIM_TEXT},
	{"md5", F_MD5_TEXT},
};

static const Fold *
fold_named(const char *name, Size len)
{
	for (int i = 0; i < lengthof(known_folds); i++)
	{
		if (strlen(known_folds[i].name) == len && strncmp(known_folds[i].name, name, len) == 0)
			return &known_folds[i];
	}
	return NULL;
}

static const Fold *
fold_calling(Oid function)
{
	for (int i = 0; i < lengthof(known_folds); i++)
	{
		if (known_folds[i].function == function)
			return &known_folds[i];
	}
	return NULL;
}

static Node *
skip_relabels(Node *expr)
{
	while (expr != NULL && IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	return expr;
}

/* The column under the cast that would show its value, or under none. */
static Var *
find_column(Node *expr)
{
	expr = skip_relabels(expr);
	if (expr != NULL && IsA(expr, FuncExpr) && list_length(((FuncExpr *) expr)->args) == 1 &&
		((FuncExpr *) expr)->funcresulttype == TEXTOID &&
		dp_type_is_encrypted(exprType(linitial(((FuncExpr *) expr)->args))) &&
		((FuncExpr *) expr)->funcformat != COERCE_EXPLICIT_CALL)
		expr = skip_relabels(linitial(((FuncExpr *) expr)->args));
	return expr != NULL && IsA(expr, Var) ? (Var *) expr : NULL;
}

bool
dp_fold_of(Node *expr, char *folds, Var **out_var)
{
	const Fold *found[DP_FOLDS_MAX];
	int			n = 0;

	for (expr = skip_relabels(expr);
		 expr != NULL && IsA(expr, FuncExpr) && n < DP_FOLDS_MAX &&
		 (found[n] = fold_calling(((FuncExpr *) expr)->funcid)) != NULL; n++)
		expr = skip_relabels(linitial(((FuncExpr *) expr)->args));
	if (n == 0 || (*out_var = find_column(expr)) == NULL)
		return false;
	for (folds[0] = '\0'; n > 0; n--)
	{
		if (folds[0] != '\0')
			strlcat(folds, " ", DP_FOLDS_LEN);
		strlcat(folds, found[n - 1]->name, DP_FOLDS_LEN);
	}
	return true;
}

bool
dp_fold_is_blind(Oid function)
{
	char	   *name;

	if (function < FirstNormalObjectId)
		return false;
	name = get_func_name(function);
	if (name == NULL || strcmp(name, "blind") != 0)
		return false;
	name = get_namespace_name(get_func_namespace(function));
	return name != NULL && strcmp(name, "dataprotect") == 0;
}

/* Fold a plaintext, which is wiped. */
static Datum
fold_plain(const DpTypeInfo *info, Datum plain, const char *folds, Oid collation)
{
	const char *at = folds;

	do
	{
		Size		len = strcspn(at, " ");
		const Fold *fold = fold_named(at, len);
		Datum		folded;

		if (fold == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown fold \"%.*s\"", (int) Min(len, 40), at),
					 errhint("Folds are lower, upper, initcap, btrim, ltrim, rtrim and md5, the innermost first.")));
		folded = OidFunctionCall1Coll(fold->function, collation, plain);
		dp_value_dispose(info, plain);
		plain = folded;
		at += len;
	} while (*at++ != '\0');
	return plain;
}

/*
 * dataprotect.blind(value encrypted_text, folds text) returns encrypted_text
 * NULL where the key is destroyed.
 */
Datum
dp_blind(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	char	   *folds = text_to_cstring(PG_GETARG_TEXT_PP(1));
	struct varlena *result;
	DpValue		value;
	Datum		plain;

	dp_value_parse(datum, false, &value);
	if (!dp_value_open(info, &value, DP_USE_MAINTAIN, false, &plain))
		PG_RETURN_NULL();
	plain = fold_plain(info, plain, folds, PG_GET_COLLATION());
	result = dp_value_seal_derived(info, &value, folds, plain);
	dp_value_dispose(info, plain);
	PG_RETURN_POINTER(result);
}
