/*
 * record.c
 *	  Encoding and bounds-checked decoding of audit records.
 *
 *	offset	length	field (integers little endian)
 *	0		1		version (1)
 *	1		1		kind: i, r, e, x
 *	2		1		outcome: one of DP_OUTCOME_LETTERS
 *	3		1		low nibble: form of the sealed part; high nibble: scope of a range
 *	4		2		event code
 *	6		2		zero
 *	8		8		time, microseconds since 2000-01-01 UTC
 *	16		8		session
 *	24		8		ref_seq
 *	32		8		ref_end
 *	40		...		fields: tag (1) | zero (1) | length (2) | bytes
 *
 *	tag		field
 *	1		role
 *	2		session role
 *	3		sealed part (below, sealed under the audit key)
 *	4		one column, "schema.table.column"; repeated
 *	5		one key: family (4) | opened (8) | compared (8) | name; repeated
 *
 * The sealed part is fields alone: 16 actor, 17 client, 18 application,
 * 19 purpose, 20 detail.  An empty field is left out.  Unknown tags, repeated
 * single fields and trailing bytes make a record malformed: the format changes
 * by its version.
 */
#include "events/record.h"

#include <string.h>

#define VERSION			1
#define HEADER_LEN		40
#define FIELD_LEN		4
#define KEY_LEN			20

enum
{
	TAG_ROLE = 1,
	TAG_SESSION_ROLE = 2,
	TAG_SEALED = 3,
	TAG_COLUMN = 4,
	TAG_KEY = 5,
	TAG_ACTOR = 16,
	TAG_CLIENT = 17,
	TAG_APPLICATION = 18,
	TAG_PURPOSE = 19,
	TAG_DETAIL = 20
};

typedef struct Writer
{
	uint8_t    *out;
	size_t		len;
	size_t		max;
	bool		failed;
} Writer;

/* Little endian; written so that compilers make one store or load of it. */
static inline void
put_int(uint8_t *out, uint64_t value, int bytes)
{
	const uint8_t all[8] = {
		(uint8_t) value, (uint8_t) (value >> 8), (uint8_t) (value >> 16), (uint8_t) (value >> 24),
		(uint8_t) (value >> 32), (uint8_t) (value >> 40), (uint8_t) (value >> 48), (uint8_t) (value >> 56)
	};

	memcpy(out, all, (size_t) bytes);
}

static inline uint64_t
get_int(const uint8_t *in, int bytes)
{
	uint8_t		all[8] = {0};

	memcpy(all, in, (size_t) bytes);
	return (uint64_t) all[0] | (uint64_t) all[1] << 8 | (uint64_t) all[2] << 16 |
		(uint64_t) all[3] << 24 | (uint64_t) all[4] << 32 | (uint64_t) all[5] << 40 |
		(uint64_t) all[6] << 48 | (uint64_t) all[7] << 56;
}

/* Room for a field of len bytes; NULL where there is none. */
static uint8_t *
put_field(Writer *writer, uint8_t tag, size_t len)
{
	uint8_t    *field = writer->out + writer->len;

	if (writer->failed || len > UINT16_MAX || writer->max - writer->len < FIELD_LEN + len)
	{
		writer->failed = true;
		return NULL;
	}
	field[0] = tag;
	field[1] = 0;
	put_int(field + 2, len, 2);
	writer->len += FIELD_LEN + len;
	return field + FIELD_LEN;
}

static void
put_slice(Writer *writer, uint8_t tag, DpSlice slice)
{
	uint8_t    *field;

	if (slice.len == 0)
		return;
	field = put_field(writer, tag, slice.len);
	if (field != NULL)
		memcpy(field, slice.data, slice.len);
}

size_t
dp_record_encode(const DpRecord *record, uint8_t *out, size_t out_max)
{
	Writer		writer = {out, HEADER_LEN, out_max, false};

	if (out_max < HEADER_LEN)
		return 0;
	out[0] = VERSION;
	out[1] = record->kind;
	out[2] = record->outcome;
	out[3] = (uint8_t) (record->sealed_format | record->scope << 4);
	put_int(out + 4, record->event, 2);
	put_int(out + 6, 0, 2);
	put_int(out + 8, (uint64_t) record->at, 8);
	put_int(out + 16, record->session, 8);
	put_int(out + 24, record->ref_seq, 8);
	put_int(out + 32, record->ref_end, 8);
	put_slice(&writer, TAG_ROLE, record->role);
	put_slice(&writer, TAG_SESSION_ROLE, record->session_role);
	put_slice(&writer, TAG_SEALED, record->sealed);
	for (int i = 0; i < record->n_columns; i++)
		put_slice(&writer, TAG_COLUMN, record->columns[i]);
	for (int i = 0; i < record->n_keys; i++)
	{
		const DpRecordKey *key = &record->keys[i];
		uint8_t    *field = put_field(&writer, TAG_KEY, KEY_LEN + key->name.len);

		if (field == NULL)
			break;
		put_int(field, (uint32_t) key->family, 4);
		put_int(field + 4, key->opened, 8);
		put_int(field + 12, key->compared, 8);
		if (key->name.len > 0)
			memcpy(field + KEY_LEN, key->name.data, key->name.len);
	}
	return writer.failed ? 0 : writer.len;
}

/* Next field of buf from *offset; false at the end and for malformed bytes. */
static bool
next_field(const uint8_t *buf, size_t len, size_t *offset, uint8_t *out_tag, DpSlice *out)
{
	size_t		field_len;

	if (len - *offset < FIELD_LEN || buf[*offset + 1] != 0)
		return false;
	field_len = get_int(buf + *offset + 2, 2);
	if (field_len == 0 || len - *offset - FIELD_LEN < field_len)
		return false;
	*out_tag = buf[*offset];
	out->data = buf + *offset + FIELD_LEN;
	out->len = field_len;
	*offset += FIELD_LEN + field_len;
	return true;
}

static bool
set_once(DpSlice *slice, DpSlice field, size_t max)
{
	if (slice->len != 0 || field.len > max)
		return false;
	*slice = field;
	return true;
}

static bool
add_key(DpRecord *record, DpSlice field)
{
	DpRecordKey *key;

	if (record->n_keys >= DP_RECORD_MAX_KEYS || field.len < KEY_LEN ||
		field.len - KEY_LEN > DP_RECORD_MAX_NAME)
		return false;
	key = &record->keys[record->n_keys++];
	key->family = (int32_t) get_int(field.data, 4);
	key->opened = get_int(field.data + 4, 8);
	key->compared = get_int(field.data + 12, 8);
	key->name.data = field.data + KEY_LEN;
	key->name.len = field.len - KEY_LEN;
	return true;
}

static bool
add_field(DpRecord *record, uint8_t tag, DpSlice field)
{
	switch (tag)
	{
		case TAG_ROLE:
			return set_once(&record->role, field, DP_RECORD_MAX_NAME);
		case TAG_SESSION_ROLE:
			return set_once(&record->session_role, field, DP_RECORD_MAX_NAME);
		case TAG_SEALED:
			return set_once(&record->sealed, field, DP_RECORD_MAX_SEALED);
		case TAG_COLUMN:
			if (record->n_columns >= DP_RECORD_MAX_COLUMNS || field.len > DP_RECORD_MAX_NAME)
				return false;
			record->columns[record->n_columns++] = field;
			return true;
		case TAG_KEY:
			return add_key(record, field);
		default:
			return false;
	}
}

static bool
is_one_of(uint8_t c, const char *set)
{
	return c != 0 && strchr(set, c) != NULL;
}

bool
dp_record_decode(const uint8_t *buf, size_t len, DpRecord *out)
{
	size_t		offset = HEADER_LEN;
	uint8_t		tag;
	DpSlice		field;

	/* Keys and columns count only as far as n_keys and n_columns say. */
	memset(out, 0, offsetof(DpRecord, keys));
	if (len < HEADER_LEN || len > DP_RECORD_MAX || buf[0] != VERSION ||
		!is_one_of(buf[1], "irex") || !is_one_of(buf[2], DP_OUTCOME_LETTERS) ||
		(buf[3] & 0x0f) > DP_SEALED_KEY || (buf[3] >> 4) > DP_SCOPE_ADMIN ||
		buf[6] != 0 || buf[7] != 0)
		return false;
	out->kind = buf[1];
	out->outcome = buf[2];
	out->sealed_format = buf[3] & 0x0f;
	out->scope = buf[3] >> 4;
	out->event = (uint16_t) get_int(buf + 4, 2);
	out->at = (int64_t) get_int(buf + 8, 8);
	out->session = get_int(buf + 16, 8);
	out->ref_seq = get_int(buf + 24, 8);
	out->ref_end = get_int(buf + 32, 8);
	while (next_field(buf, len, &offset, &tag, &field))
		if (!add_field(out, tag, field))
			return false;
	return offset == len;
}

size_t
dp_personal_encode(const DpPersonal *personal, uint8_t *out, size_t out_max)
{
	Writer		writer = {out, 0, out_max, false};

	put_slice(&writer, TAG_ACTOR, personal->actor);
	put_slice(&writer, TAG_CLIENT, personal->client);
	put_slice(&writer, TAG_APPLICATION, personal->application);
	put_slice(&writer, TAG_PURPOSE, personal->purpose);
	put_slice(&writer, TAG_DETAIL, personal->detail);
	return writer.failed ? 0 : writer.len;
}

bool
dp_personal_decode(const uint8_t *buf, size_t len, DpPersonal *out)
{
	size_t		offset = 0;
	uint8_t		tag;
	DpSlice		field;

	memset(out, 0, sizeof(*out));
	while (next_field(buf, len, &offset, &tag, &field))
	{
		DpSlice    *slice;

		switch (tag)
		{
			case TAG_ACTOR:
				slice = &out->actor;
				break;
			case TAG_CLIENT:
				slice = &out->client;
				break;
			case TAG_APPLICATION:
				slice = &out->application;
				break;
			case TAG_PURPOSE:
				slice = &out->purpose;
				break;
			case TAG_DETAIL:
				slice = &out->detail;
				break;
			default:
				return false;
		}
		if (!set_once(slice, field, DP_RECORD_MAX_SEALED))
			return false;
	}
	return offset == len;
}
