/*
 * kept_value.c
 *	  Where an UPDATE writes what is there already, the stored value stays.
 *
 * Whatever UPDATE, ON CONFLICT DO UPDATE or MERGE assigns to a protected column
 * passes dataprotect._kept_value(new, old) on its way into the row: the planner
 * puts it there, whoever made the table and in whatever way.  It gives the old
 * envelope
 *	- for the same plaintext under the same key version, where the role may compare
 *	  (search, reveal, superusers): so the update can stay on its page (HOT).
 *	  Anybody else would be told by it whether he guessed right
 *	- where the role writes what it was shown in the value's place: its mask, or
 *	  NULL or **** of a value whose key is suspended
 * and else the new one.  Only plaintext that was sealed in this transaction is
 * compared: a stored value from elsewhere is stored as it is.
 *
 * Arrays and rows are looked at element by element, field by field.  A mask that
 * is written in another place of an array than the one that it was shown in is an
 * error: it would be stored, and which element it stands for nobody can tell.
 *
 * Not in what the lifecycle runs (a security-restricted operation), which removes
 * values that it cannot read, and not in referential integrity's own queries.
 * A statement that does not assign the column does not meet any of this.  Nor does one
 * over a table that Citus distributes: the nodes that have its rows do all of it.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/htup_details.h"
#include "audit/track.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/kept_value.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"
#include "types/codec.h"
#include "types/distributed.h"
#include "types/seal.h"
#include "types/show.h"
#include "types/types.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dp_kept_value);

/* ---- one value ---- */

static bool
may_compare(int32 family)
{
	return dp_access_privilege(family) >= DP_PRIV_SEARCH ||
		(dp_n_code == 0 && superuser() && superuser_arg(GetAuthenticatedUserId()));
}

static bool
same_plain(const DpTypeInfo *info, Datum left, Datum right)
{
	DpPlain		a;
	DpPlain		b;
	bool		same;

	dp_codec_encode(info, left, &a);
	dp_codec_encode(info, right, &b);
	same = a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
	dp_plain_done(&a);
	dp_plain_done(&b);
	return same;
}

static void
count_comparison(int32 family)
{
	if (!dp_audit_comparing_again(family))
		dp_audit_comparing(family, NameStr(dp_keys_family(family)->name));
}

bool
dp_kept_same(const DpTypeInfo *info, Datum plain, const DpValue *stored)
{
	Datum		old_plain;
	bool		same;

	if (!may_compare(stored->family))
		return false;
	count_comparison(stored->family);
	if (!dp_value_open(info, stored, DP_USE_MAINTAIN, false, &old_plain))
		return false;
	same = same_plain(info, plain, old_plain);
	dp_value_dispose(info, old_plain);
	return same;
}

static bool
same_envelope(const DpValue *a, const DpValue *b)
{
	return VARSIZE_ANY_EXHDR(a->datum) == VARSIZE_ANY_EXHDR(b->datum) &&
		memcmp(VARDATA_ANY(a->datum), VARDATA_ANY(b->datum), VARSIZE_ANY_EXHDR(b->datum)) == 0;
}

/* Is what is written what the role was shown of the old value? */
static bool
was_shown(const DpTypeInfo *info, const DpValue *old, const DpValue *new)
{
	Datum		plain;
	bool		shown;

	if (new == NULL)
		return dp_show_gives(info, old, NULL);
	if (!dp_show_hides(old) || !dp_value_open(info, new, DP_USE_MAINTAIN, false, &plain))
		return false;
	shown = dp_show_gives(info, old, &plain);
	dp_value_dispose(info, plain);
	return shown;
}

/* Can two values of one key have the same plaintext?  Opens neither. */
static bool
may_be_same(const DpValue *a, const DpValue *b)
{
	DpSettled	rooms[2];

	if ((a->env.token != NULL) != (b->env.token != NULL) || a->env.flags != b->env.flags)
		return false;
	return (a->env.token == NULL ||
			memcmp(dp_value_settle(&a->env, &rooms[0])->token, dp_value_settle(&b->env, &rooms[1])->token, DP_TOKEN_LEN) == 0) &&
		VARSIZE_ANY_EXHDR(a->datum) == VARSIZE_ANY_EXHDR(b->datum);
}

static bool
is_unchanged(const DpTypeInfo *info, const DpValue *old, const DpValue *new)
{
	Datum		plain;
	bool		same;

	if (old->env.key_id != new->env.key_id || !may_compare(old->family))
		return false;
	if (!may_be_same(old, new))
	{
		/* his guess was wrong: that is an answer, too */
		count_comparison(old->family);
		return false;
	}
	if (!dp_value_open(info, new, DP_USE_MAINTAIN, false, &plain))
		return false;
	same = dp_kept_same(info, plain, old);
	dp_value_dispose(info, plain);
	return same;
}

/* For what the stored value is kept: what was shown in its place, and the same plaintext. */
typedef enum Reason
{
	MASKS,
	MASKS_AND_SAME
} Reason;

static bool
keeps(const DpTypeInfo *info, const DpValue *old, const DpValue *new, Reason reason)
{
	if (new == NULL)
		return was_shown(info, old, NULL);
	if (same_envelope(old, new) || (!new->literal && !dp_seal_is_fresh(new->datum)))
		return false;
	return was_shown(info, old, new) || (reason == MASKS_AND_SAME && is_unchanged(info, old, new));
}

static bool
keeps_value(const DpTypeInfo *info, NullableDatum old, NullableDatum new, Reason reason)
{
	DpValue		old_value;
	DpValue		new_value;

	if (old.isnull)
		return false;
	dp_value_parse(PG_DETOAST_DATUM_PACKED(old.value), false, &old_value);
	if (new.isnull)
		return keeps(info, &old_value, NULL, reason);
	dp_value_parse(PG_DETOAST_DATUM_PACKED(new.value), false, &new_value);
	return keeps(info, &old_value, &new_value, reason);
}

/* ---- values inside of others ---- */

/* What a column gets where old is stored and new is written: one of them, or a mixture. */
static NullableDatum kept(Oid type, NullableDatum old, NullableDatum new, Reason reason);

static inline bool
same_datum(NullableDatum a, NullableDatum b)
{
	return a.isnull == b.isnull && (a.isnull || a.value == b.value);
}

/* An array taken apart. */
typedef struct Elements
{
	ArrayType  *array;
	Datum	   *values;
	bool	   *nulls;
	int			n;
} Elements;

static Elements
elements_of(Datum array, Oid type)
{
	Elements	e;
	int16		len;
	bool		by_value;
	char		align;

	e.array = DatumGetArrayTypeP(array);
	get_typlenbyvalalign(type, &len, &by_value, &align);
	deconstruct_array(e.array, type, len, by_value, align, &e.values, &e.nulls, &e.n);
	return e;
}

static inline NullableDatum
element(const Elements *e, int i)
{
	return (NullableDatum)
	{
		.value = e->nulls[i] ? (Datum) 0 : e->values[i],.isnull = e->nulls[i]
	};
}

/* Where the new array's i-th element was in the old one; -1: nowhere. */
static int
old_place(const Elements *old, const Elements *new, int i)
{
	int			place;

	if (ARR_NDIM(new->array) == 1 && ARR_NDIM(old->array) == 1)
		place = i + ARR_LBOUND(new->array)[0] - ARR_LBOUND(old->array)[0];
	else
		place = ARR_NDIM(new->array) == ARR_NDIM(old->array) &&
			memcmp(ARR_DIMS(new->array), ARR_DIMS(old->array), ARR_NDIM(old->array) * sizeof(int)) == 0 ? i : -1;
	return place >= 0 && place < old->n ? place : -1;
}

/* May a role be shown something else in the value's place? */
static bool
may_hide(Oid type, NullableDatum datum)
{
	DpValue		value;

	if (datum.isnull || !dp_type_is_encrypted(getBaseType(type)))
		return !datum.isnull;
	dp_value_parse(PG_DETOAST_DATUM_PACKED(datum.value), false, &value);
	return dp_show_hides(&value);
}

/* Is that what was shown of one of them? */
static bool
was_shown_of_any(Oid type, const Elements *old, const bool *hidden, NullableDatum new)
{
	int			i;

	for (i = 0; !new.isnull && i < old->n; i++)
	{
		if (hidden[i] && !same_datum(kept(type, element(old, i), new, MASKS), new))
			return true;
	}
	return false;
}

static void
refuse_moved_mask(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("cannot tell which elements of an array the masks that are written stand for"),
			 errdetail("An element that the role may not read was moved or removed."),
			 errhint("Write each mask in the place that it was read from.")));
}

static Datum
kept_elements(Oid type, Datum old_array, Datum new_array, Reason reason)
{
	Elements	old = elements_of(old_array, type);
	Elements	new = elements_of(new_array, type);
	bool	   *hidden = palloc(Max(old.n, 1) * sizeof(bool));
	bool		as_old = old.n == new.n;
	bool		as_new = true;
	int16		len;
	bool		by_value;
	char		align;
	int			i;

	for (i = 0; i < old.n; i++)
		hidden[i] = may_hide(type, element(&old, i));
	for (i = 0; i < new.n; i++)
	{
		int			place = old_place(&old, &new, i);
		NullableDatum is = element(&new, i);
		NullableDatum stays = is;
		bool		masked = false;

		if (place >= 0)
		{
			stays = kept(type, element(&old, place), is, MASKS);
			masked = !same_datum(stays, is);
			if (!masked && reason == MASKS_AND_SAME)
				stays = kept(type, element(&old, place), is, reason);
		}
		if (masked ? new.n < old.n : was_shown_of_any(type, &old, hidden, is))
			refuse_moved_mask();
		as_new = as_new && same_datum(stays, is);
		as_old = as_old && place == i && same_datum(stays, element(&old, i));
		new.values[i] = stays.value;
		new.nulls[i] = stays.isnull;
	}
	if (as_new)
		return new_array;
	if (as_old)
		return old_array;
	get_typlenbyvalalign(type, &len, &by_value, &align);
	return PointerGetDatum(construct_md_array(new.values, new.nulls, ARR_NDIM(new.array), ARR_DIMS(new.array),
											  ARR_LBOUND(new.array), type, len, by_value, align));
}

static Datum
kept_fields(Oid type, Datum old_row, Datum new_row, Reason reason)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);
	HeapTupleData old_tuple = {.t_data = DatumGetHeapTupleHeader(old_row)};
	HeapTupleData new_tuple = {.t_data = DatumGetHeapTupleHeader(new_row)};
	Datum	   *old = palloc(desc->natts * sizeof(Datum));
	Datum	   *new = palloc(desc->natts * sizeof(Datum));
	bool	   *old_nulls = palloc(desc->natts * sizeof(bool));
	bool	   *new_nulls = palloc(desc->natts * sizeof(bool));
	bool		as_new = true;
	int			i;

	old_tuple.t_len = HeapTupleHeaderGetDatumLength(old_tuple.t_data);
	new_tuple.t_len = HeapTupleHeaderGetDatumLength(new_tuple.t_data);
	heap_deform_tuple(&old_tuple, desc, old, old_nulls);
	heap_deform_tuple(&new_tuple, desc, new, new_nulls);
	for (i = 0; i < desc->natts; i++)
	{
		NullableDatum was = {.value = old[i],.isnull = old_nulls[i]};
		NullableDatum is = {.value = new[i],.isnull = new_nulls[i]};
		NullableDatum stays;

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		stays = kept(TupleDescAttr(desc, i)->atttypid, was, is, reason);
		as_new = as_new && same_datum(stays, is);
		new[i] = stays.value;
		new_nulls[i] = stays.isnull;
	}
	return as_new ? new_row : HeapTupleGetDatum(heap_form_tuple(desc, new, new_nulls));
}

static NullableDatum
kept(Oid type, NullableDatum old, NullableDatum new, Reason reason)
{
	Oid			inner;

	check_stack_depth();
	type = getBaseType(type);
	if (old.isnull || !dp_contains_encrypted_type(type))
		return new;
	if (dp_type_is_encrypted(type))
		return keeps_value(dp_typeinfo_get(type), old, new, reason) ? old : new;
	if (new.isnull)
		return new;
	inner = get_element_type(type);
	if (OidIsValid(inner))
		new.value = kept_elements(inner, old.value, new.value, reason);
	else if (get_typtype(type) == TYPTYPE_COMPOSITE)
		new.value = kept_fields(type, old.value, new.value, reason);
	return new;
}

/* dataprotect._kept_value(new internal, old internal) returns internal */
Datum
dp_kept_value(PG_FUNCTION_ARGS)
{
	NullableDatum stays = fcinfo->args[0];

	if (!InSecurityRestrictedOperation() && !InNoForceRLSOperation())
	{
		Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 1);

		/* what is kept whole stays as it is stored, out of line too */
		if (fcinfo->flinfo->fn_extra != NULL)
			stays = keeps_value(fcinfo->flinfo->fn_extra, fcinfo->args[1], stays, MASKS_AND_SAME) ? fcinfo->args[1] : stays;
		else if (dp_type_is_encrypted(getBaseType(type)))
		{
			fcinfo->flinfo->fn_extra = unconstify(DpTypeInfo *, dp_typeinfo_get(getBaseType(type)));
			return dp_kept_value(fcinfo);
		}
		else
			stays = kept(type, fcinfo->args[1], stays, MASKS_AND_SAME);
	}
	if (stays.isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(stays.value);
}

/* ---- plans ---- */

static Oid
kept_value_function(void)
{
	Oid			types[2] = {INTERNALOID, INTERNALOID};
	Oid			schema = get_namespace_oid("dataprotect", true);

	return OidIsValid(schema) ?
		GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("_kept_value"),
						PointerGetDatum(buildoidvector(types, 2)), ObjectIdGetDatum(schema)) : InvalidOid;
}

/* Have what is assigned to protected columns of the table pass the function. */
static void
wrap_assignments(Query *query, List *targets)
{
	RangeTblEntry *rte = rt_fetch(query->resultRelation, query->rtable);
	Oid			function = InvalidOid;
	ListCell   *lc;

	if (rte->rtekind != RTE_RELATION ||
		(rte->relkind != RELKIND_RELATION && rte->relkind != RELKIND_PARTITIONED_TABLE))
		return;
	foreach(lc, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);
		Var		   *expr = (Var *) target->expr;
		Oid			type;
		int32		typmod;
		Oid			collation;
		Var		   *old;

		if (target->resjunk)
			continue;
		get_atttypetypmodcoll(rte->relid, target->resno, &type, &typmod, &collation);
		if (!dp_contains_encrypted_type(type) ||
			(IsA(expr, Var) && expr->varno == query->resultRelation && expr->varattno == target->resno &&
			 expr->varlevelsup == 0))
			continue;
		if (!OidIsValid(function))
		{
			if (dp_is_distributed(rte->relid))
				return;
			function = kept_value_function();
			if (!OidIsValid(function))
				return;
		}
		old = makeVar(query->resultRelation, target->resno, type, typmod, collation, 0);
		/* shown by EXPLAIN as what was assigned */
		target->expr = (Expr *) makeFuncExpr(function, type, list_make2(target->expr, old), collation,
											 InvalidOid, COERCE_IMPLICIT_CAST);
	}
}

static void
planning(Query *query, const char *source)
{
	ListCell   *lc;

	foreach(lc, query->cteList)
	{
		Query	   *with = (Query *) lfirst_node(CommonTableExpr, lc)->ctequery;

		if (with->commandType != CMD_SELECT)
			planning(with, source);
	}
	if (query->commandType == CMD_UPDATE)
		wrap_assignments(query, query->targetList);
	else if (query->commandType == CMD_INSERT && query->onConflict != NULL)
		wrap_assignments(query, query->onConflict->onConflictSet);
	else if (query->commandType == CMD_MERGE)
	{
		foreach(lc, query->mergeActionList)
		{
			if (lfirst_node(MergeAction, lc)->commandType == CMD_UPDATE)
				wrap_assignments(query, lfirst_node(MergeAction, lc)->targetList);
		}
	}
}

static const DpSubscriber subscriber = {
	.name = "kept values",
	.planning = planning,
};

void
dp_kept_value_init(void)
{
	dp_statement_subscribe(&subscriber);
}
