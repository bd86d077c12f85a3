/*
 * json.c
 *	  Encrypted values inside JSON: as their base type's would be.
 *
 * PostgreSQL's constructors ask a type that they do not know for a cast to json,
 * and make a string of its text form where there is none.  That is right for the
 * base types that are strings in JSON; the others have the cast below.  A member's
 * name is never made by a cast: there the text form takes its place.
 */
#include "postgres.h"

#include "access/transam.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "types/json.h"
#include "types/show.h"
#include "types/storing.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_to_json);

/* ---- values ---- */

static void
append_value(StringInfo json, const DpTypeInfo *info, Datum plain)
{
	char		time[MAXDATELEN + 1];
	char	   *text;

	switch (info->base_oid)
	{
		case BOOLOID:
			appendStringInfoString(json, DatumGetBool(plain) ? "true" : "false");
			return;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			JsonEncodeDateTime(time, plain, info->base_oid, NULL);
			appendStringInfo(json, "\"%s\"", time);
			return;
		default:
			break;
	}
	text = OutputFunctionCall(unconstify(FmgrInfo *, &info->base_out), plain);
	/* NaN and infinities are strings, as those of plain columns are */
	if (info->base_oid == JSONBOID || IsValidJsonNumber(text, strlen(text)))
		appendStringInfoString(json, text);
	else
		escape_json(json, text);
}

/*
 * Cast to json: the value, the mask or the ciphertext as a string, null where the
 * mask has no form or the key is unreadable.  Never SQL NULL: the constructors do
 * not expect one.
 */
Datum
dp_to_json(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	DpValue		value;
	StringInfoData json;
	Datum		plain;
	char	   *mask;

	dp_value_parse(PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0)), false, &value);
	initStringInfo(&json);
	switch (dp_show_privilege(&value))
	{
		case DP_PRIV_NONE:
			escape_json(&json, dp_show_text(info, &value));
			break;
		case DP_PRIV_MASK:
		case DP_PRIV_SEARCH:
			dp_storing_refuse(fcinfo->flinfo, &value, DP_NOT_ALLOWED);
			dp_show_refuse_copy();
			mask = dp_show_mask_text(info, &value);
			if (mask != NULL)
				escape_json(&json, mask);
			else
				appendStringInfoString(&json, "null");
			break;
		case DP_PRIV_REVEAL:
			if (dp_show_open(info, &value, &plain))
			{
				append_value(&json, info, plain);
				dp_value_dispose(info, plain);
				break;
			}
			dp_storing_refuse(fcinfo->flinfo, &value, DP_NOT_READABLE);
			dp_show_warn_unreadable(value.family);
			appendStringInfoString(&json, "null");
			break;
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(json.data, json.len));
}

/* ---- names of members ---- */

/* json_build_object, jsonb_object_agg_unique and their like; all are PostgreSQL's. */
static bool
makes_object(Oid function)
{
	char	   *name = function < FirstNormalObjectId ? get_func_name(function) : NULL;

	return name != NULL && strncmp(name, "json", 4) == 0 && strstr(name, "object") != NULL;
}

static bool
is_encrypted(Node *node)
{
	return dp_type_is_encrypted(exprType(node));
}

/* What the output function shows, whoever reads. */
static Expr *
as_text(Node *value)
{
	CoerceViaIO *text = makeNode(CoerceViaIO);

	text->arg = (Expr *) value;
	text->resulttype = TEXTOID;
	text->resultcollid = DEFAULT_COLLATION_OID;
	text->coerceformat = COERCE_IMPLICIT_CAST;
	text->location = -1;
	return (Expr *) text;
}

/* Every second argument is a name; is_object is asked where one of them is encrypted. */
static void
name_by_text(List *args, Oid function)
{
	for (int i = 0; i < list_length(args); i += 2)
	{
		ListCell   *cell = list_nth_cell(args, i);

		if (is_encrypted(lfirst(cell)) && (!OidIsValid(function) || makes_object(function)))
			lfirst(cell) = as_text(lfirst(cell));
	}
}

static void
name_aggregated_by_text(Aggref *agg)
{
	TargetEntry *name = list_length(agg->args) >= 2 ? linitial_node(TargetEntry, agg->args) : NULL;

	if (name == NULL || name->ressortgroupref != 0 || !is_encrypted((Node *) name->expr) ||
		!makes_object(agg->aggfnoid))
		return;
	name->expr = as_text((Node *) name->expr);
	linitial_oid(agg->aggargtypes) = TEXTOID;
}

static bool
names_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, names_walker, context, 0);
	if (IsA(node, FuncExpr) && !((FuncExpr *) node)->funcvariadic)
		name_by_text(((FuncExpr *) node)->args, ((FuncExpr *) node)->funcid);
	else if (IsA(node, WindowFunc) && list_length(((WindowFunc *) node)->args) == 2)
		name_by_text(((WindowFunc *) node)->args, ((WindowFunc *) node)->winfnoid);
	else if (IsA(node, Aggref))
		name_aggregated_by_text((Aggref *) node);
	else
		name_by_text(dp_json_object_args(node), InvalidOid);
	return expression_tree_walker(node, names_walker, context);
}

static void
look_at_query(ParseState *pstate, Query *query, JumbleState *jumble)
{
	if (query->commandType != CMD_UTILITY)
		(void) query_tree_walker(query, names_walker, NULL, 0);
}

static const DpSubscriber subscriber = {
	.name = "names in JSON",
	.analyzed = look_at_query,
};

void
dp_json_init(void)
{
	dp_statement_subscribe(&subscriber);
}
