/*
 * reseal.c
 *	  Stored values under the current version of their keys; see reseal.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/secret.h"
#include "catalog/pg_type.h"
#include "columns/reseal.h"
#include "columns/stored_scan.h"
#include "funcapi.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

typedef struct Route
{
	uint64		key_id;			/* hash key */
	bool		brought;		/* its values are sealed anew ... */
	int32		family;			/* ... by the named key's current version, or, with 0, ... */
	uint64		successor;		/* ... under this key */
} Route;

struct DpReseal
{
	HTAB	   *routes;
	uint64		literal;		/* the key of literals, where these are brought over; else 0 */
	int64		count;
};

DpReseal *
dp_reseal_begin(void)
{
	DpReseal   *reseal = palloc0(sizeof(DpReseal));
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(Route);
	ctl.hcxt = CurrentMemoryContext;
	reseal->routes = hash_create("dataprotect keys to leave", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return reseal;
}

DpReseal *
dp_reseal_begin_literals(void)
{
	DpReseal   *reseal = dp_reseal_begin();
	DpKey		key;

	if (dp_keys_literal(&key))
		reseal->literal = key.key_id;
	return reseal;
}

int64
dp_reseal_count(const DpReseal *reseal)
{
	return reseal->count;
}

/* ---- which key takes over ---- */

static void
decide(Route *route)
{
	DpVersionRow row;
	const DpFamily *family;
	DpKey		successor;

	if (route->key_id == 0 || !dp_catalog_read_version(route->key_id, &row) || row.family == 0 || !row.has_wrapped)
		return;
	family = dp_keys_family(row.family);
	if (family->state != DP_KEY_ACTIVE || family->has_keep)
		return;
	if (row.purpose == DP_PURPOSE_DATA)
	{
		route->family = row.family;
		route->brought = family->current_key_id != route->key_id;
	}
	else if (row.purpose == DP_PURPOSE_SUBJECT && dp_keys_subject_successor(route->key_id, &successor))
	{
		route->successor = successor.key_id;
		route->brought = true;
	}
}

/* One that the system's key for literals has replaced, or that hides nothing. */
static void
decide_literal(Route *route, uint64 literal)
{
	DpVersionRow row;

	if (!dp_keys_is_open_literal(route->key_id) &&
		(!dp_catalog_read_version(route->key_id, &row) || row.family != 0 || row.purpose != DP_PURPOSE_LITERAL))
		return;
	route->successor = literal;
	route->brought = route->key_id != literal;
}

static Route *
find_route(DpReseal *reseal, uint64 key_id)
{
	bool		found;
	Route	   *route = hash_search(reseal->routes, &key_id, HASH_ENTER, &found);

	if (!found)
	{
		route->brought = false;
		route->family = 0;
		route->successor = 0;
		if (reseal->literal != 0)
			decide_literal(route, reseal->literal);
		else
			decide(route);
	}
	return route;
}

typedef struct Wanted
{
	DpReseal   *reseal;
	bool		wanted;
} Wanted;

static void
want_one(const DpTypeInfo *info, struct varlena *value, void *context)
{
	Wanted	   *wanted = context;
	DpEnvelope	env;

	if (!wanted->wanted && dp_envelope_parse((uint8 *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), &env) &&
		((env.flags & DP_ENV_LITERAL) != 0) == (wanted->reseal->literal != 0))
		wanted->wanted = find_route(wanted->reseal, env.key_id)->brought;
}

bool
dp_reseal_wants(DpReseal *reseal, Oid typid, Datum value)
{
	Wanted		wanted = {reseal, false};

	dp_stored_visit(typid, value, want_one, &wanted);
	return wanted.wanted;
}

/* ---- one value ---- */

/* What was sealed under the new key; NULL where it did not open. */
static struct varlena *
seal_again(const DpTypeInfo *info, const DpEnvelope *env, const Route *route)
{
	Size		size = dp_envelope_size(env->ciphertext_len, env->flags);
	struct varlena *result = palloc(VARHDRSZ + size);
	uint8	   *plain = dp_secret_acquire(env->ciphertext_len);
	DpSettled	room;
	DpKey		key;
	bool		ok;

	SET_VARSIZE(result, VARHDRSZ + size);
	ok = dp_keys_get(env->key_id, DP_USE_MAINTAIN, false, &key) == DP_KEY_OK &&
		dp_value_open_envelope(&key, env, info->code, plain);
	if (ok)
	{
		if (route->family != 0)
			dp_keys_for_seal(dp_keys_family(route->family), &key);
		else if (dp_keys_get(route->successor, DP_USE_READ, false, &key) != DP_KEY_OK)
			ok = false;
		if (ok && !dp_envelope_seal(key.aead, key.key_id, env->flags, info->code, dp_value_settle(env, &room)->token,
									plain, env->ciphertext_len, (uint8 *) VARDATA(result)))
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not seal a value")));
	}
	dp_secret_release(plain);
	return ok ? result : NULL;
}

static bool
reseal_one(DpReseal *reseal, const DpTypeInfo *info, Datum value, Datum *out)
{
	struct varlena *datum = (struct varlena *) PG_DETOAST_DATUM_PACKED(value);
	struct varlena *result;
	DpEnvelope	env;
	Route	   *route;

	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env) ||
		((env.flags & DP_ENV_LITERAL) != 0) != (reseal->literal != 0))
		return false;
	route = find_route(reseal, env.key_id);
	if (!route->brought)
		return false;
	result = seal_again(info, &env, route);
	if (result == NULL)
		return false;
	reseal->count++;
	*out = PointerGetDatum(result);
	return true;
}

/* ---- what is inside others ---- */

static bool
reseal_array(DpReseal *reseal, Oid element, Datum value, Datum *out)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	int16		len;
	bool		byval;
	char		align;
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			i;
	bool		changed = false;

	get_typlenbyvalalign(element, &len, &byval, &align);
	deconstruct_array(array, element, len, byval, align, &values, &nulls, &n);
	for (i = 0; i < n; i++)
		changed |= !nulls[i] && dp_reseal_value(reseal, element, values[i], &values[i]);
	if (changed)
		*out = PointerGetDatum(construct_md_array(values, nulls, ARR_NDIM(array), ARR_DIMS(array),
												  ARR_LBOUND(array), element, len, byval, align));
	return changed;
}

static bool
reseal_row(DpReseal *reseal, Datum value, Datum *out)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
												   HeapTupleHeaderGetTypMod(header));
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTupleData tuple = {0};
	bool		changed = false;
	int			i;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);
	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			nulls[i] = true;
		else if (!nulls[i])
			changed |= dp_reseal_value(reseal, att->atttypid, values[i], &values[i]);
	}
	if (changed)
		*out = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	return changed;
}

bool
dp_reseal_value(DpReseal *reseal, Oid typid, Datum value, Datum *out)
{
	*out = value;
	if (typid < FirstNormalObjectId)
		return false;
	check_stack_depth();
	if (dp_type_is_encrypted(typid))
		return reseal_one(reseal, dp_typeinfo_get(typid), value, out);
	if (get_typtype(typid) == TYPTYPE_DOMAIN)
		return dp_reseal_value(reseal, getBaseType(typid), value, out);
	if (OidIsValid(get_element_type(typid)))
		return reseal_array(reseal, get_element_type(typid), value, out);
	if (get_typtype(typid) == TYPTYPE_COMPOSITE)
		return reseal_row(reseal, value, out);
	return false;
}
