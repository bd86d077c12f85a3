/*
 * client_row.c
 *	  Rows as a client gets them; see client_row.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "types/client_row.h"
#include "types/client_type.h"
#include "types/resolve.h"
#include "types/show.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dp_for_client);

/* ---- while a query is analysed ---- */

/* The type without domains around it, and of an array its elements' likewise. */
static Oid
bare_type(Oid type)
{
	Oid			element = get_element_type(getBaseType(type));

	return getBaseType(OidIsValid(element) ? element : type);
}

/* looked: row types above this one, which may contain themselves in arrays */
static bool
has_protected_fields(Oid type, List *looked)
{
	TupleDesc	desc;
	bool		result = false;

	type = bare_type(type);
	if (type < FirstNormalObjectId || list_member_oid(looked, type))
		return false;
	if (dp_type_is_encrypted(type))
		return looked != NIL;
	if (get_typtype(type) != TYPTYPE_COMPOSITE)
		return false;
	check_stack_depth();
	looked = lappend_oid(list_copy(looked), type);
	desc = lookup_rowtype_tupdesc_copy(type, -1);
	for (int i = 0; i < desc->natts && !result; i++)
		result = !TupleDescAttr(desc, i)->attisdropped && has_protected_fields(TupleDescAttr(desc, i)->atttypid, looked);
	return result;
}

/* A row of no type of its own may come from any function, or from what the query reads. */
static bool
may_make_rows_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid >= FirstNormalObjectId)
		return true;
	if (IsA(node, Var) && ((Var *) node)->vartype >= FirstNormalObjectId)
		return dp_type_is_encrypted(bare_type(((Var *) node)->vartype)) || has_protected_fields(((Var *) node)->vartype, NIL);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, may_make_rows_walker, context, 0);
	return expression_tree_walker(node, may_make_rows_walker, context);
}

bool
dp_client_row_in(Query *query, Node *value)
{
	Oid			type = exprType(value);

	if (type == RECORDOID || type == RECORDARRAYOID)
		return query_tree_walker(query, may_make_rows_walker, NULL, 0);
	return has_protected_fields(type, NIL);
}

Node *
dp_client_row(Node *value)
{
	Oid			argument = ANYELEMENTOID;
	Oid			function = LookupFuncName(list_make2(makeString("dataprotect"), makeString("_for_client")), 1, &argument, true);
	Oid			type = exprType(value);

	if (!OidIsValid(function))
		return value;
	return (Node *) makeFuncExpr(function, type, list_make1(value), InvalidOid, exprCollation(value), DP_COMPARED_FORMAT);
}

bool
dp_client_row_is(Node *node)
{
	FuncExpr   *call = (FuncExpr *) node;

	return IsA(node, FuncExpr) && call->funcformat == DP_COMPARED_FORMAT && list_length(call->args) == 1 &&
		call->funcresulttype == exprType(linitial(call->args));
}

/* ---- as it runs ---- */

/* What becomes of a field. */
typedef enum FieldWay
{
	FIELD_STAYS,
	FIELD_VALUE,				/* a protected value, or an array of such */
	FIELD_VALUE_BY_KEY,			/* the same, where the type does not name the key: each value does */
	FIELD_ROW					/* may itself have rows in it */
} FieldWay;

typedef struct RowWay
{
	Oid			type;			/* of the rows */
	int32		typmod;
	TupleDesc	from;
	FieldWay   *fields;			/* as in "from" */
	TupleDesc	to;				/* NULL: nothing becomes another type */
	TupleDesc	to_certain;		/* with fields of values by key as they are */
} RowWay;

typedef struct Cast
{
	const DpTypeInfo *from;
	FmgrInfo	function;
} Cast;

typedef struct ClientCall
{
	FmgrInfo   *flinfo;
	List	   *rows;			/* of RowWay */
	List	   *casts;			/* of Cast */
} ClientCall;

/* The cast of a type to its base type, which stands where the call stands. */
static Cast *
cast_of(ClientCall *call, Oid encrypted)
{
	MemoryContext before;
	Cast	   *cast;
	ListCell   *lc;
	Oid			function;

	foreach(lc, call->casts)
	{
		cast = lfirst(lc);
		if (cast->from->enc_oid == encrypted)
			return cast;
	}
	before = MemoryContextSwitchTo(call->flinfo->fn_mcxt);
	cast = palloc0(sizeof(Cast));
	cast->from = dp_typeinfo_get(encrypted);
	if (find_coercion_pathway(cast->from->base_oid, encrypted, COERCION_IMPLICIT, &function) != COERCION_PATH_FUNC)
		elog(ERROR, "no cast of type %u to its base type", encrypted);
	fmgr_info_cxt(function, &cast->function, call->flinfo->fn_mcxt);
	fmgr_info_set_expr(call->flinfo->fn_expr, &cast->function);
	call->casts = lappend(call->casts, cast);
	MemoryContextSwitchTo(before);
	return cast;
}

static Datum
opened(const Cast *cast, Datum value, Oid collation, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, unconstify(FmgrInfo *, &cast->function), 1, collation, NULL, NULL);
	fcinfo->args[0].value = value;
	fcinfo->args[0].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

/* What is done with each element of an array that is not NULL. */
typedef Datum (*ElementWay) (ClientCall *call, Oid element, Datum value, Oid collation, bool *isnull);

static Datum
with_elements(ClientCall *call, Datum array, Oid to, Oid collation, ElementWay way)
{
	ArrayType  *from = DatumGetArrayTypeP(array);
	Oid			element = ARR_ELEMTYPE(from);
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(element, &len, &byval, &align);
	deconstruct_array(from, element, len, byval, align, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			values[i] = way(call, element, values[i], collation, &nulls[i]);
	get_typlenbyvalalign(to, &len, &byval, &align);
	return PointerGetDatum(construct_md_array(values, nulls, ARR_NDIM(from), ARR_DIMS(from), ARR_LBOUND(from), to, len, byval, align));
}

static Datum
opened_element(ClientCall *call, Oid element, Datum value, Oid collation, bool *isnull)
{
	return opened(cast_of(call, getBaseType(element)), value, collation, isnull);
}

/* ---- the type of a row ---- */

/* What becomes of a column; the type and the modifier that it gets. */
static FieldWay
way_of(Form_pg_attribute att, Oid *type, int32 *typmod)
{
	int32		modifier = att->atttypmod;
	bool		is_array;
	Oid			encrypted = dp_client_encrypted_type(att->atttypid, &modifier, &is_array);
	Oid			bare;

	*type = att->atttypid;
	*typmod = att->atttypmod;
	if (!OidIsValid(encrypted))
	{
		bare = bare_type(att->atttypid);
		return bare == RECORDOID || bare == RECORDARRAYOID || get_typtype(bare) == TYPTYPE_COMPOSITE ? FIELD_ROW : FIELD_STAYS;
	}
	if (modifier >= 0 && !dp_client_reveals(modifier))
		return FIELD_STAYS;
	*type = dp_typeinfo_get(encrypted)->base_oid;
	*typmod = dp_client_base_modifier(encrypted, modifier);
	if (*type == TEXTOID && *typmod >= 0)
		*type = VARCHAROID;
	if (is_array)
		*type = get_array_type(*type);
	return modifier >= 0 ? FIELD_VALUE : FIELD_VALUE_BY_KEY;
}

/* The row type without dropped columns; with by_key, fields of values by key become the base type's. */
static TupleDesc
type_for_client(TupleDesc from, const FieldWay *fields, bool by_key)
{
	TupleDesc	result;
	int			n = 0;

	for (int i = 0; i < from->natts; i++)
		n += !TupleDescAttr(from, i)->attisdropped;
	result = CreateTemplateTupleDesc(n);
	n = 0;
	for (int i = 0; i < from->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(from, i);
		Oid			type;
		int32		typmod;

		if (att->attisdropped)
			continue;
		if (fields[i] == FIELD_VALUE || (by_key && fields[i] == FIELD_VALUE_BY_KEY))
			(void) way_of(att, &type, &typmod);
		else
		{
			type = att->atttypid;
			typmod = att->atttypmod;
		}
		TupleDescInitEntry(result, ++n, NameStr(att->attname), type, typmod, 0);
		TupleDescInitEntryCollation(result, n, att->attcollation);
	}
	return BlessTupleDesc(result);
}

static RowWay *
way_of_row(ClientCall *call, Oid type, int32 typmod)
{
	MemoryContext before;
	RowWay	   *row;
	ListCell   *lc;
	bool		changes = false;

	foreach(lc, call->rows)
	{
		row = lfirst(lc);
		if (row->type == type && row->typmod == typmod)
			return row;
	}
	before = MemoryContextSwitchTo(call->flinfo->fn_mcxt);
	row = palloc0(sizeof(RowWay));
	row->type = type;
	row->typmod = typmod;
	row->from = lookup_rowtype_tupdesc_copy(type, typmod);
	row->fields = palloc0(row->from->natts * sizeof(FieldWay));
	for (int i = 0; i < row->from->natts; i++)
	{
		Oid			field;
		int32		field_typmod;

		if (!TupleDescAttr(row->from, i)->attisdropped)
			row->fields[i] = way_of(TupleDescAttr(row->from, i), &field, &field_typmod);
		changes |= row->fields[i] != FIELD_STAYS;
	}
	if (changes)
	{
		row->to = type_for_client(row->from, row->fields, true);
		row->to_certain = type_for_client(row->from, row->fields, false);
	}
	call->rows = lappend(call->rows, row);
	MemoryContextSwitchTo(before);
	return row;
}

/* ---- rows ---- */

static bool
may_see_value(Datum datum)
{
	DpValue		value;

	dp_value_parse(PG_DETOAST_DATUM_PACKED(datum), false, &value);
	return dp_show_privilege(&value) == DP_PRIV_REVEAL;
}

/* Of arrays, whose elements may lie under several keys, nothing is asked: all or none. */
static bool
may_see_values_by_key(const RowWay *row, const Datum *values, const bool *nulls)
{
	for (int i = 0; i < row->from->natts; i++)
	{
		if (row->fields[i] != FIELD_VALUE_BY_KEY || nulls[i])
			continue;
		if (OidIsValid(get_element_type(getBaseType(TupleDescAttr(row->from, i)->atttypid))) ?
			!dp_access_reveals_all() : !may_see_value(values[i]))
			return false;
	}
	return true;
}

static Datum converted(ClientCall *call, Oid type, Datum value);

static Datum
field_for_client(ClientCall *call, Form_pg_attribute att, FieldWay way, Datum value, bool *isnull)
{
	int32		typmod = att->atttypmod;
	bool		is_array;
	Oid			encrypted;

	if (way == FIELD_STAYS)
		return value;
	if (way == FIELD_ROW)
		return converted(call, att->atttypid, value);
	encrypted = dp_client_encrypted_type(att->atttypid, &typmod, &is_array);
	return is_array ? with_elements(call, value, cast_of(call, encrypted)->from->base_oid, att->attcollation, opened_element) :
		opened(cast_of(call, encrypted), value, att->attcollation, isnull);
}

static Datum
row_for_client(ClientCall *call, Datum datum)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(datum);
	const RowWay *row = way_of_row(call, HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	int			natts = row->from->natts;
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),.t_data = header};
	Datum	   *values;
	bool	   *nulls;
	bool		by_key;
	int			n = 0;

	if (row->to == NULL)
		return datum;
	values = palloc(natts * sizeof(Datum));
	nulls = palloc(natts * sizeof(bool));
	ItemPointerSetInvalid(&tuple.t_self);
	heap_deform_tuple(&tuple, row->from, values, nulls);
	by_key = may_see_values_by_key(row, values, nulls);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row->from, i);

		if (att->attisdropped)
			continue;
		if (!nulls[i] && (by_key || row->fields[i] != FIELD_VALUE_BY_KEY))
			values[i] = field_for_client(call, att, row->fields[i], values[i], &nulls[i]);
		values[n] = values[i];
		nulls[n++] = nulls[i];
	}
	return HeapTupleGetDatum(heap_form_tuple(by_key ? row->to : row->to_certain, values, nulls));
}

static Datum
row_element(ClientCall *call, Oid element, Datum value, Oid collation, bool *isnull)
{
	return row_for_client(call, value);
}

/* A row, or an array of rows. */
static Datum
converted(ClientCall *call, Oid type, Datum value)
{
	Oid			element = get_element_type(getBaseType(type));

	check_stack_depth();
	if (OidIsValid(element))
		return with_elements(call, value, element, InvalidOid, row_element);
	return row_for_client(call, value);
}

/*
 * dataprotect._for_client(value anyelement) returns anyelement
 *
 * A row whose header tells another type than the expression has must not be stored:
 * nobody calls this but the queries of wire.c.
 */
Datum
dp_for_client(PG_FUNCTION_ARGS)
{
	Node	   *node = fcinfo->flinfo->fn_expr;
	ClientCall *call = fcinfo->flinfo->fn_extra;

	if (node == NULL || !dp_client_row_is(node))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s is called in results of queries only", "dataprotect._for_client()"),
				 errhint("Cast the fields of the row.")));
	if (call == NULL)
	{
		call = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(ClientCall));
		call->flinfo = fcinfo->flinfo;
		fcinfo->flinfo->fn_extra = call;
	}
	PG_RETURN_DATUM(converted(call, exprType(linitial(((FuncExpr *) node)->args)), PG_GETARG_DATUM(0)));
}
