/*
 * inspect.c
 *	  Functions over encrypted values of any type that show none of them.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/relation.h"
#include "base/compat.h"
#include "base/secret.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "types/inspect.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

PG_FUNCTION_INFO_V1(dp_envelope_key_id_sql);
PG_FUNCTION_INFO_V1(dp_check_value_sql);
PG_FUNCTION_INFO_V1(dp_reseal_sql);
PG_FUNCTION_INFO_V1(dp_encrypted_type_sql);
PG_FUNCTION_INFO_V1(dp_base_type_sql);
PG_FUNCTION_INFO_V1(dp_check_base_type_sql);
PG_FUNCTION_INFO_V1(dp_type_analyze);

static const DpTypeInfo *
argument_info(FunctionCallInfo fcinfo)
{
	return dp_typeinfo_get(get_fn_expr_argtype(fcinfo->flinfo, 0));
}

/* Key id of a stored value; needs no right and no key. */
Datum
dp_envelope_key_id_sql(PG_FUNCTION_ARGS)
{
	struct varlena *datum;
	DpEnvelope	env;

	(void) argument_info(fcinfo);
	datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env))
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) env.key_id);
}

/* Does a value authenticate?  Opens it and keeps nothing; NULL: key unreadable. */
Datum
dp_check_value_sql(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = argument_info(fcinfo);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	DpEnvelope	env;
	DpKey		key;
	uint8	   *buf;
	bool		ok;

	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env))
		PG_RETURN_BOOL(false);
	if (dp_keys_get(env.key_id, DP_USE_MAINTAIN, false, &key) != DP_KEY_OK)
		PG_RETURN_NULL();
	buf = palloc(env.ciphertext_len + 1);
	ok = dp_envelope_open(key.aead, &env, info->code, buf);
	dp_secret_wipe(buf, env.ciphertext_len);
	pfree(buf);
	PG_RETURN_BOOL(ok);
}

struct varlena *
dp_inspect_reseal(const DpTypeInfo *info, struct varlena *datum)
{
	struct varlena *result;
	DpValue		value;
	DpKey		key;
	Datum		plain;

	dp_value_parse(datum, false, &value);
	if (value.literal ||
		dp_keys_get(value.env.key_id, DP_USE_MAINTAIN, false, &key) != DP_KEY_OK ||
		key.purpose != DP_PURPOSE_DATA ||
		dp_keys_family(value.family)->current_key_id == value.env.key_id ||
		!dp_value_open(info, &value, DP_USE_MAINTAIN, false, &plain))
		return datum;
	dp_keys_for_seal(dp_keys_family(value.family), &key);
	result = dp_value_seal(info, plain, &key, false, value.env.token != NULL);
	dp_value_dispose(info, plain);
	return result;
}

/* dp_inspect_reseal() of one value.  Not a read. */
Datum
dp_reseal_sql(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = argument_info(fcinfo);

	PG_RETURN_POINTER(dp_inspect_reseal(info, PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0))));
}

/* Encrypted type over a base type, or NULL. */
Datum
dp_encrypted_type_sql(PG_FUNCTION_ARGS)
{
	Oid			base = PG_GETARG_OID(0);
	Oid			result;

	if (base == VARCHAROID)
		base = TEXTOID;
	result = dp_typeinfo_encrypted_over(base);
	if (!OidIsValid(result))
		PG_RETURN_NULL();
	PG_RETURN_OID(result);
}

/* Base type of an encrypted type, or NULL where it is none. */
Datum
dp_base_type_sql(PG_FUNCTION_ARGS)
{
	Oid			typid = PG_GETARG_OID(0);

	if (!dp_type_is_encrypted(typid))
		PG_RETURN_NULL();
	PG_RETURN_OID(dp_typeinfo_get(typid)->base_oid);
}

Datum
dp_check_base_type_sql(PG_FUNCTION_ARGS)
{
	const char *problem;

	if (!dp_typeinfo_base_ok(PG_GETARG_OID(0), &problem))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("no encrypted type can be made over type %s", format_type_be(PG_GETARG_OID(0))),
				 errdetail("%s", problem)));
	PG_RETURN_VOID();
}

/*
 * Does an index for equality lie on this very column?  One for order or for
 * tokens serves as well.
 */
static bool
has_equality_index(Oid relid, AttrNumber attnum)
{
	Relation	rel = try_relation_open(relid, NoLock);
	bool		found = false;
	List	   *indexes;
	ListCell   *cell;

	if (rel == NULL)
		return false;
	indexes = RelationGetIndexList(rel);
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found |= IndexRelationGetNumberOfKeyAttributes(index) == 1 &&
			index->rd_index->indkey.values[0] == attnum;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	relation_close(rel, NoLock);
	return found;
}

/*
 * Null fraction and width only: no values, no comparisons, and a number of
 * distinct values that does not depend on the values, or pg_stats and EXPLAIN
 * would tell whoever may ANALYZE whether two of them are equal.  Where there is
 * an index to find a value by, values are taken to differ; the column's option
 * n_distinct says otherwise.
 */
static void
compute_width(VacAttrStatsP stats, AnalyzeAttrFetchFunc fetch, int n_rows, double total_rows)
{
	double		width = 0;
	int			nulls = 0;
	int			i;

	for (i = 0; i < n_rows; i++)
	{
		bool		isnull;
		Datum		value;

		dp_vacuum_delay_point();
		value = fetch(stats, i, &isnull);
		if (isnull)
			nulls++;
		else
			width += (double) toast_raw_datum_size(value);
	}
	if (n_rows == 0)
		return;
	stats->stats_valid = true;
	stats->stanullfrac = (float4) nulls / n_rows;
	stats->stawidth = nulls < n_rows ? (int32) (width / (n_rows - nulls)) : 0;
	stats->stadistinct = 0;
	if (stats->tupDesc != NULL)
	{
		Form_pg_attribute att = TupleDescAttr(stats->tupDesc, stats->tupattnum - 1);

		if (has_equality_index(att->attrelid, att->attnum))
			stats->stadistinct = -1 + stats->stanullfrac;
	}
}

Datum
dp_type_analyze(PG_FUNCTION_ARGS)
{
	VacAttrStats *stats = (VacAttrStats *) PG_GETARG_POINTER(0);

	stats->compute_stats = compute_width;
	stats->minrows = 3000;
	PG_RETURN_BOOL(true);
}
