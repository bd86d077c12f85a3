/*
 * record_filter.c
 *	  What a read of dataprotect.audit_record is after; see record_filter.h.
 */
#include "postgres.h"

#include "audit/chain.h"
#include "audit/name_filter.h"
#include "audit/record_filter.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "keys/keys.h"
#include "utils/array.h"
#include "utils/uuid.h"

static const char kinds[] = "irex";

void
dp_filters_clear(DpRecordFilters *filters)
{
	memset(filters, 0, sizeof(*filters));
}

static bool
is_text(DpRecordFilter filter)
{
	return filter == DP_FILTER_ROLE || filter == DP_FILTER_SESSION_ROLE || filter == DP_FILTER_KEY;
}

static void
set_subjects(DpRecordFilters *filters, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);

	/* A NULL among them is no account's key: nothing is told by its place. */
	filters->n_subjects = array_contains_nulls(array) ? -1 : ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	filters->subjects = (const uint64 *) ARR_DATA_PTR(array);
}

void
dp_filters_set(DpRecordFilters *filters, DpRecordFilter filter, Datum value)
{
	bool		is_min = filter == DP_FILTER_SEQ_MIN || filter == DP_FILTER_AT_MIN || filter == DP_FILTER_REF_MIN || filter == DP_FILTER_END_MIN;
	bool		is_max = filter == DP_FILTER_SEQ_MAX || filter == DP_FILTER_AT_MAX || filter == DP_FILTER_REF_MAX;

	if (filters->is_set[filter] &&
		((is_min && DatumGetInt64(value) <= dp_filters_int(filters, filter)) ||
		 (is_max && DatumGetInt64(value) >= dp_filters_int(filters, filter))))
		return;
	filters->is_set[filter] = true;
	filters->values[filter] = value;
	if (filter == DP_FILTER_SUBJECTS)
		set_subjects(filters, value);
	else if (is_text(filter))
	{
		DpSlice		name = {(const uint8 *) VARDATA_ANY(DatumGetPointer(value)), VARSIZE_ANY_EXHDR(DatumGetPointer(value))};

		filters->names[filter] = name;
		filters->hashes[filter] = dp_hint_hash(filter == DP_FILTER_KEY ? DP_HINT_KEY : DP_HINT_ROLE, name.data, name.len);
	}
}

/* One of the kinds that are asked for with that event, or outcome. */
static bool
has_of_kinds(const DpRecordFilters *filters, const uint8 *hints, Size len, DpHint what, int number)
{
	for (int i = 0; i < lengthof(kinds) - 1; i++)
	{
		uint8		kind = (uint8) kinds[i];

		if (filters->is_set[DP_FILTER_KIND] && kind != (uint8) DatumGetChar(filters->values[DP_FILTER_KIND]))
			continue;
		if (dp_name_filter_has(hints, len, what == DP_HINT_EVENT ? dp_hint_hash_event(kind, (int16) number) : dp_hint_hash_outcome(kind, (uint8) number)))
			return true;
	}
	return false;
}

/* Records whose result is another one count as having every key. */
static bool
fits_key(const DpRecordFilters *filters, const uint8 *hints, Size len)
{
	return dp_name_filter_has(hints, len, filters->hashes[DP_FILTER_KEY]) ||
		has_of_kinds(filters, hints, len, DP_HINT_OUTCOME, DP_OUTCOME_STARTED);
}

static bool
fits_hints(const DpRecordFilters *filters, Datum value)
{
	const bool *set = filters->is_set;
	bytea	   *bytes = DatumGetByteaPP(value);
	const uint8 *hints = (const uint8 *) VARDATA_ANY(bytes);
	Size		len = VARSIZE_ANY_EXHDR(bytes);

	if (len == 0 || len == DP_HINTS_OLD)
		return true;
	return (!set[DP_FILTER_EVENT] || has_of_kinds(filters, hints, len, DP_HINT_EVENT, (int) dp_filters_int(filters, DP_FILTER_EVENT))) &&
		(!set[DP_FILTER_OUTCOME] || has_of_kinds(filters, hints, len, DP_HINT_OUTCOME, (uint8) DatumGetChar(filters->values[DP_FILTER_OUTCOME]))) &&
		(!set[DP_FILTER_ROLE] || dp_name_filter_has(hints, len, filters->hashes[DP_FILTER_ROLE])) &&
		(!set[DP_FILTER_SESSION_ROLE] || dp_name_filter_has(hints, len, filters->hashes[DP_FILTER_SESSION_ROLE])) &&
		(!set[DP_FILTER_KEY] || fits_key(filters, hints, len));
}

/* What does not open may have anybody, and so may what 0.1.0 has packed. */
static bool
fits_subjects(const DpRecordFilters *filters, const Datum *values, const bool *nulls)
{
	bytea	   *sealed;
	bytea	   *plain;

	if (nulls[DP_BATCH_SUBJECTS])
		return VARSIZE_ANY_EXHDR(DatumGetByteaPP(values[DP_BATCH_HINTS])) == DP_HINTS_OLD;
	sealed = DatumGetByteaPP(values[DP_BATCH_SUBJECTS]);
	return filters->n_subjects < 0 ||
		!dp_keys_audit_open((const uint8 *) VARDATA_ANY(sealed), VARSIZE_ANY_EXHDR(sealed), &plain) ||
		dp_packed_has_subject((const uint8 *) VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain), filters->subjects, filters->n_subjects);
}

bool
dp_filters_fit_row(const DpRecordFilters *filters, const Datum *values, const bool *nulls)
{
	const bool *set = filters->is_set;

	if ((set[DP_FILTER_SEQ_MIN] && DatumGetInt64(values[DP_BATCH_SEQ_TO]) < dp_filters_int(filters, DP_FILTER_SEQ_MIN)) ||
		(set[DP_FILTER_SEQ_MAX] && DatumGetInt64(values[DP_BATCH_SEQ_FROM]) > dp_filters_int(filters, DP_FILTER_SEQ_MAX)) ||
		(set[DP_FILTER_AT_MIN] && DatumGetInt64(values[DP_BATCH_AT_TO]) < dp_filters_int(filters, DP_FILTER_AT_MIN)) ||
		(set[DP_FILTER_AT_MAX] && DatumGetInt64(values[DP_BATCH_AT_FROM]) > dp_filters_int(filters, DP_FILTER_AT_MAX)) ||
		(set[DP_FILTER_RING] && DatumGetInt64(values[DP_BATCH_RING_TO]) < dp_filters_int(filters, DP_FILTER_RING)) ||
		(set[DP_FILTER_INSTANCE] && memcmp(DatumGetUUIDP(values[DP_BATCH_INSTANCE])->data,
										   DatumGetUUIDP(filters->values[DP_FILTER_INSTANCE])->data, UUID_LEN) != 0))
		return false;
	if ((set[DP_FILTER_REF_MAX] || set[DP_FILTER_REF_MIN] || set[DP_FILTER_END_MIN]) && nulls[DP_BATCH_REFS])
		return false;
	return fits_hints(filters, values[DP_BATCH_HINTS]) &&
		(!set[DP_FILTER_SUBJECTS] || fits_subjects(filters, values, nulls));
}

static bool
is_name(DpSlice slice, DpSlice name)
{
	return slice.len == name.len && memcmp(slice.data, name.data, name.len) == 0;
}

static bool
has_key(const DpShape *shape, DpSlice name)
{
	DpSlice		keys = shape->keys;

	for (int i = 0; i < shape->n_keys; i++)
		if (is_name(dp_unpack_text(&keys), name))
			return true;
	return false;
}

static bool
fits_shape(const DpRecordFilters *filters, const DpShape *shape)
{
	const bool *set = filters->is_set;

	return (!set[DP_FILTER_KIND] || shape->kind == (uint8) DatumGetChar(filters->values[DP_FILTER_KIND])) &&
		(!set[DP_FILTER_EVENT] || shape->event == dp_filters_int(filters, DP_FILTER_EVENT)) &&
		(!set[DP_FILTER_OUTCOME] || shape->outcome == (uint8) DatumGetChar(filters->values[DP_FILTER_OUTCOME])) &&
		(!set[DP_FILTER_ROLE] || is_name(shape->role, filters->names[DP_FILTER_ROLE])) &&
		(!set[DP_FILTER_SESSION_ROLE] || is_name(shape->session_role, filters->names[DP_FILTER_SESSION_ROLE])) &&
		(!set[DP_FILTER_KEY] || shape->outcome == DP_OUTCOME_STARTED || has_key(shape, filters->names[DP_FILTER_KEY]));
}

bool
dp_filters_fit_shapes(const DpRecordFilters *filters, const DpUnpacked *batch, bool *out_fits)
{
	bool		any = false;

	for (int i = 0; i < batch->n_shapes; i++)
	{
		out_fits[i] = fits_shape(filters, &batch->shapes[i]);
		any |= out_fits[i];
	}
	return any;
}

bool
dp_filters_fit_record(const DpRecordFilters *filters, const DpUnpackedRecord *record)
{
	const bool *set = filters->is_set;

	return !((set[DP_FILTER_AT_MIN] && record->at < dp_filters_int(filters, DP_FILTER_AT_MIN)) ||
			 (set[DP_FILTER_AT_MAX] && record->at > dp_filters_int(filters, DP_FILTER_AT_MAX)) ||
			 (set[DP_FILTER_RING] && (int64) record->ring_seq != dp_filters_int(filters, DP_FILTER_RING)) ||
			 (set[DP_FILTER_SESSION] && record->session != (uint64) dp_filters_int(filters, DP_FILTER_SESSION)) ||
			 (set[DP_FILTER_REF_MIN] && (int64) record->ref_seq < dp_filters_int(filters, DP_FILTER_REF_MIN)) ||
			 (set[DP_FILTER_REF_MAX] && (int64) record->ref_seq > dp_filters_int(filters, DP_FILTER_REF_MAX)) ||
			 (set[DP_FILTER_END_MIN] && (int64) record->ref_end < dp_filters_int(filters, DP_FILTER_END_MIN)));
}
