/*
 * canonical.c
 *	  Bytes that stand for equality; see codec.h.
 *
 *	numeric		without trailing zeros
 *	floats		one zero, one NaN
 *	interval	its length, months of 30 days and days of 24 hours: 16 bytes, big endian
 *	jsonb		containers and scalars in the order of jsonb, each with its kind and length
 *	citext		the text in lower case, as the database's locale has it
 *	char(n)		without trailing blanks
 *	others		what is sealed, where the type's equality is that of its bytes; else its hash
 */
#include "postgres.h"

#include <math.h>

#include "base/compat.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "types/codec.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/formatting.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

static void
put(DpPlain *out, char *bytes, Size len)
{
	out->owned = bytes;
	out->owned_len = len;
	out->data = (uint8 *) bytes;
	out->len = len;
}

static void
put_small(DpPlain *out, uint64 bits, int len)
{
	for (int i = 0; i < len; i++)
		out->small[i] = (uint8) (bits >> (8 * (len - 1 - i)));
	out->data = out->small;
	out->len = len;
}

/* 1.0 equals 1.00: trailing zeros go. */
static void
canonical_numeric(Datum value, DpPlain *out)
{
	char	   *text = numeric_normalize(DatumGetNumeric(value));

	put(out, text, strlen(text));
}

/* Zeros are equal, and so are NaNs; float4 is not compared to float8. */
static void
canonical_float(double number, DpPlain *out)
{
	if (number == 0)
		number = 0;
	else if (isnan(number))
		number = get_float8_nan();
	put_small(out, (uint64) Float8GetDatum(number), 8);
}

/* As interval_cmp() has it. */
static void
canonical_interval(const Interval *interval, DpPlain *out)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int128		length = (int128) days * USECS_PER_DAY + interval->time;
	uint64		high = (uint64) (length >> 64);
	uint64		low = (uint64) length;

	for (int i = 0; i < 8; i++)
	{
		out->small[i] = (uint8) (high >> (56 - 8 * i));
		out->small[8 + i] = (uint8) (low >> (56 - 8 * i));
	}
	out->data = out->small;
	out->len = 16;
}

/* ---- jsonb ---- */

static void
append_string(StringInfo buf, char kind, char *string, int len)
{
	char	   *utf8 = pg_server_to_any(string, len, PG_UTF8);

	if (utf8 != string)
		len = strlen(utf8);
	appendStringInfoChar(buf, kind);
	appendBinaryStringInfo(buf, (char *) &len, sizeof(len));
	appendBinaryStringInfo(buf, utf8, len);
	if (utf8 != string)
	{
		explicit_bzero(utf8, len);
		pfree(utf8);
	}
}

static void
append_scalar(StringInfo buf, char kind, const JsonbValue *value)
{
	char	   *text;

	switch (value->type)
	{
		case jbvString:
			append_string(buf, kind, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			text = numeric_normalize(value->val.numeric);
			append_string(buf, 'n', text, strlen(text));
			explicit_bzero(text, strlen(text));
			pfree(text);
			break;
		case jbvBool:
			appendStringInfoChar(buf, value->val.boolean ? 't' : 'f');
			break;
		default:
			appendStringInfoChar(buf, '0');
	}
}

/* Keys come sorted and once each; a scalar alone is no array of one. */
static void
canonical_jsonb(Datum datum, DpPlain *out)
{
	Jsonb	   *document = DatumGetJsonbP(datum);
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbValue	value;
	JsonbIteratorToken token;
	StringInfoData buf;

	initStringInfo(&buf);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_BEGIN_ARRAY:
				appendStringInfoChar(&buf, value.val.array.rawScalar ? '=' : '[');
				break;
			case WJB_END_ARRAY:
				appendStringInfoChar(&buf, ']');
				break;
			case WJB_BEGIN_OBJECT:
				appendStringInfoChar(&buf, '{');
				break;
			case WJB_END_OBJECT:
				appendStringInfoChar(&buf, '}');
				break;
			case WJB_KEY:
				append_scalar(&buf, 'k', &value);
				break;
			default:
				append_scalar(&buf, 's', &value);
		}
	}
	put(out, buf.data, buf.len);
	out->owned_len = buf.maxlen;
}

/* ---- other types ---- */

static void
canonical_folded(const DpTypeInfo *info, Datum value, DpPlain *out)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);
	char	   *lower = str_tolower(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text), DEFAULT_COLLATION_OID);
	char	   *utf8 = pg_server_to_any(lower, strlen(lower), PG_UTF8);

	if (utf8 != lower)
	{
		explicit_bzero(lower, strlen(lower));
		pfree(lower);
	}
	put(out, utf8, strlen(utf8));
}

static void
canonical_padded(const DpTypeInfo *info, Datum value, DpPlain *out)
{
	dp_codec_encode(info, value, out);
	while (out->len > 0 && out->data[out->len - 1] == ' ')
		out->len--;
}

/* A base type that has no bytes of its own for equality lends its hash. */
static void
canonical_hash(const DpTypeInfo *info, Datum value, DpPlain *out)
{
	if (!OidIsValid(info->base_hash.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("values of type %s cannot be hashed", info->name)));
	put_small(out, DatumGetUInt32(FunctionCall1Coll(unconstify(FmgrInfo *, &info->base_hash), InvalidOid, value)), 4);
}

void
dp_codec_canonical(const DpTypeInfo *info, Datum value, DpPlain *out)
{
	out->owned = NULL;
	switch (info->base_oid)
	{
		case NUMERICOID:
			canonical_numeric(value, out);
			break;
		case FLOAT4OID:
			canonical_float(DatumGetFloat4(value), out);
			break;
		case FLOAT8OID:
			canonical_float(DatumGetFloat8(value), out);
			break;
		case INTERVALOID:
			canonical_interval(DatumGetIntervalP(value), out);
			break;
		case JSONBOID:
			canonical_jsonb(value, out);
			break;
		case BPCHAROID:
			canonical_padded(info, value, out);
			break;
		default:
			if (info->folds)
				canonical_folded(info, value, out);
			else if (info->can_token)
				dp_codec_encode(info, value, out);
			else
				canonical_hash(info, value, out);
	}
}
