/*
 * verify_values.c
 *	  What a scan of a column tells: which keys its values are under, and whether
 *	  they open.
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "base/compat.h"
#include "base/progress.h"
#include "base/secret.h"
#include "catalog/pg_type.h"
#include "columns/stored_scan.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "storage/bufmgr.h"
#include "types/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

PG_FUNCTION_INFO_V1(dp_verify_column);
PG_FUNCTION_INFO_V1(dp_verify_unreadable);
PG_FUNCTION_INFO_V1(dp_verify_count_keys);
PG_FUNCTION_INFO_V1(dp_verify_count_columns);
PG_FUNCTION_INFO_V1(dp_verify_tree);

/* Values under one key; key_id 0 stands for what is no envelope. */
typedef struct KeyCount
{
	uint64		key_id;
	bool		known;			/* the key table has the key */
	int64		values;
	int64		failures;
} KeyCount;

static HTAB *
make_counts(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(KeyCount);
	ctl.hcxt = CurrentMemoryContext;
	return hash_create("dataprotect values by key", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static KeyCount *
find_count(HTAB *counts, uint64 key_id)
{
	bool		found;
	KeyCount   *count = hash_search(counts, &key_id, HASH_ENTER, &found);

	if (!found)
	{
		DpVersionRow row;

		count->known = dp_keys_is_open_literal(key_id) ||
			(key_id != 0 && dp_catalog_read_version(key_id, &row));
		count->values = 0;
		count->failures = 0;
	}
	return count;
}

/* Opens and keeps nothing. */
static bool
authenticates(const DpTypeInfo *info, const DpEnvelope *env, const DpKey *key)
{
	uint8	   *buf = palloc(env->ciphertext_len + 1);
	bool		ok = dp_value_open_envelope(key, env, info->code, buf);

	dp_secret_wipe(buf, env->ciphertext_len);
	pfree(buf);
	return ok;
}

/*
 * Lost is what is damaged, and what no key opens any more.  A suspended key opens
 * for maintenance: its values are none of these.
 */
static void
verify_value(const DpTypeInfo *info, struct varlena *value, void *context)
{
	DpEnvelope	env;
	DpKey		key;
	bool		well_formed = dp_envelope_parse((uint8 *) VARDATA_ANY(value),
												VARSIZE_ANY_EXHDR(value), &env);
	KeyCount   *count = find_count(context, well_formed ? env.key_id : 0);

	count->values++;
	if (!count->known ||
		dp_keys_get(env.key_id, DP_USE_MAINTAIN, false, &key) != DP_KEY_OK ||
		!authenticates(info, &env, &key))
		count->failures++;
}

/* column: of a result that has it as the fourth. */
static void
return_counts(FunctionCallInfo fcinfo, HTAB *counts, const NameData *column)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	HASH_SEQ_STATUS seq;
	KeyCount   *count;

	hash_seq_init(&seq, counts);
	while ((count = hash_seq_search(&seq)) != NULL)
	{
		Datum		values[4] = {0};
		bool		nulls[4] = {false};

		values[3] = NameGetDatum(column);
		values[0] = Int64GetDatum((int64) count->key_id);
		nulls[0] = !count->known;
		values[1] = Int64GetDatum(count->values);
		values[2] = Int64GetDatum(count->failures);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* Counts as failures what a reader would not be shown. */
static void
read_value(const DpTypeInfo *info, struct varlena *value, void *context)
{
	DpEnvelope	env;
	DpKey		key;
	bool		well_formed = dp_envelope_parse((uint8 *) VARDATA_ANY(value),
												VARSIZE_ANY_EXHDR(value), &env);
	KeyCount   *count = find_count(context, well_formed ? env.key_id : 0);

	count->values++;
	if (!count->known || dp_keys_get(env.key_id, DP_USE_READ, false, &key) != DP_KEY_OK)
		count->failures++;
}

/* By key only. */
static void
count_value(const DpTypeInfo *info, struct varlena *value, void *context)
{
	DpEnvelope	env;
	bool		well_formed = dp_envelope_parse((uint8 *) VARDATA_ANY(value),
												VARSIZE_ANY_EXHDR(value), &env);

	find_count(context, well_formed ? env.key_id : 0)->values++;
}

/* Scan a column and return one row a key. */
static Datum
count_column(FunctionCallInfo fcinfo, double sample, DpStoredVisit visit)
{
	HTAB	   *counts = make_counts();
	DpStoredColumn column = {InvalidAttrNumber, counts};
	Relation	rel;

	InitMaterializedSRF(fcinfo, 0);
	rel = dp_stored_open(PG_GETARG_OID(0), NameStr(*PG_GETARG_NAME(1)), &column.attnum);
	if (rel != NULL)
	{
		dp_progress_begin(DP_PROGRESS_VERIFY, RelationGetRelid(rel), column.attnum,
						  (int64) ceil(sample * RelationGetNumberOfBlocks(rel)));
		dp_stored_scan(rel, &column, 1, sample, visit);
		dp_progress_end();
		relation_close(rel, AccessShareLock);
		return_counts(fcinfo, counts, NULL);
	}
	hash_destroy(counts);
	return (Datum) 0;
}

/*
 * dataprotect._verify_column(rel regclass, col name, sample float8)
 *		returns table (key_id int8, "values" bigint, failures bigint)
 */
Datum
dp_verify_column(PG_FUNCTION_ARGS)
{
	return count_column(fcinfo, PG_GETARG_FLOAT8(2), verify_value);
}

/*
 * dataprotect._unreadable_values(rel regclass, col name)
 *		returns table (key_id int8, "values" bigint, failures bigint)
 * By the states of their keys; opens none.
 */
Datum
dp_verify_unreadable(PG_FUNCTION_ARGS)
{
	return count_column(fcinfo, 1, read_value);
}

/*
 * dataprotect._count_by_key(rel regclass, col name)
 *		returns table (key_id int8, "values" bigint, failures bigint)
 */
Datum
dp_verify_count_keys(PG_FUNCTION_ARGS)
{
	return count_column(fcinfo, 1, count_value);
}

/*
 * dataprotect._count_by_keys(rel regclass, cols name[])
 *		returns table (key_id int8, "values" bigint, failures bigint, col name)
 * The same of several columns in one scan.
 */
Datum
dp_verify_count_columns(PG_FUNCTION_ARGS)
{
	DpStoredColumn *columns;
	Datum	   *names;
	Relation	rel = NULL;
	int			n;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &names, NULL, &n);
	columns = palloc0(sizeof(DpStoredColumn) * (n + 1));
	for (i = 0; i < n; i++)
	{
		if (rel != NULL)
			relation_close(rel, NoLock);
		rel = dp_stored_open(PG_GETARG_OID(0), NameStr(*DatumGetName(names[i])), &columns[i].attnum);
		columns[i].context = make_counts();
		if (rel == NULL)
			return (Datum) 0;
	}
	if (rel == NULL)
		return (Datum) 0;
	dp_stored_scan(rel, columns, n, 1, count_value);
	relation_close(rel, NoLock);
	for (i = 0; i < n; i++)
		return_counts(fcinfo, columns[i].context, DatumGetName(names[i]));
	return (Datum) 0;
}

static bool
verify_constants(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Const) && !((Const *) node)->constisnull)
		dp_stored_visit(((Const *) node)->consttype, ((Const *) node)->constvalue, verify_value, context);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, verify_constants, context, 0);
	return expression_tree_walker(node, verify_constants, context);
}

/*
 * dataprotect._verify_tree(tree pg_node_tree)
 *		returns table (key_id int8, "values" bigint, failures bigint)
 */
Datum
dp_verify_tree(PG_FUNCTION_ARGS)
{
	HTAB	   *counts = make_counts();

	InitMaterializedSRF(fcinfo, 0);
	(void) verify_constants(stringToNode(text_to_cstring(PG_GETARG_TEXT_PP(0))), counts);
	return_counts(fcinfo, counts, NULL);
	hash_destroy(counts);
	return (Datum) 0;
}
