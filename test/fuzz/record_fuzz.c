/*
 * record_fuzz.c
 *	  Audit records as they lie in the ring and in segments.
 */
#include <string.h>

#include "events/record.h"
#include "fuzz.h"

static void
check_slice(DpSlice slice, const uint8_t *buf, size_t len)
{
	must(slice.len == 0 ||
		 (slice.data >= buf && slice.len <= len && slice.data + slice.len <= buf + len));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t again[DP_RECORD_MAX];
	static DpRecord record;
	static DpRecord twin;
	DpPersonal	personal;
	size_t		len;
	int			i;

	if (dp_record_decode(data, size, &record))
	{
		check_slice(record.role, data, size);
		check_slice(record.session_role, data, size);
		check_slice(record.sealed, data, size);
		must(record.n_columns >= 0 && record.n_columns <= DP_RECORD_MAX_COLUMNS);
		must(record.n_keys >= 0 && record.n_keys <= DP_RECORD_MAX_KEYS);
		for (i = 0; i < record.n_columns; i++)
			check_slice(record.columns[i], data, size);
		for (i = 0; i < record.n_keys; i++)
			check_slice(record.keys[i].name, data, size);

		len = dp_record_encode(&record, again, sizeof(again));
		must(len == size);
		must(dp_record_decode(again, len, &twin));
		must(twin.kind == record.kind && twin.outcome == record.outcome &&
			 twin.at == record.at && twin.ref_end == record.ref_end &&
			 twin.n_columns == record.n_columns && twin.n_keys == record.n_keys);
		must(dp_record_encode(&record, again, len - 1) == 0);
	}
	if (dp_personal_decode(data, size, &personal))
	{
		check_slice(personal.actor, data, size);
		check_slice(personal.detail, data, size);
		must(dp_personal_encode(&personal, again, sizeof(again)) == size ||
			 size > sizeof(again));
	}
	return 0;
}
