/*
 * codec.c
 *	  How plaintext is written down before it is sealed; see codec.h.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/pinned_settings.h"
#include "base/secret.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "types/codec.h"
#include "utils/builtins.h"
#include "utils/guc.h"

static void
own(DpPlain *out, void *buf, Size len)
{
	out->owned = buf;
	out->owned_len = len;
}

void
dp_plain_done(DpPlain *plain)
{
	if (plain->owned != NULL)
	{
		dp_secret_wipe(plain->owned, plain->owned_len);
		pfree(plain->owned);
	}
	dp_secret_wipe(plain->small, sizeof(plain->small));
}

static void
put_integer(DpPlain *out, uint64 bits, int len)
{
	int			i;

	for (i = 0; i < len; i++)
		out->small[i] = (uint8) (bits >> (8 * (len - 1 - i)));
	out->data = out->small;
	out->len = len;
}

static void
encode_integer(const DpTypeInfo *info, Datum value, DpPlain *out)
{
	put_integer(out, (uint64) value, info->base_len);
}

static Datum
decode_integer(const DpTypeInfo *info, const uint8 *data)
{
	uint64		bits = 0;
	int			i;

	for (i = 0; i < info->base_len; i++)
		bits = (bits << 8) | data[i];
	switch (info->base_len)
	{
		case 1:
			return BoolGetDatum(bits != 0);
		case 2:
			return Int16GetDatum((int16) bits);
		case 4:
			return Int32GetDatum((int32) bits);
		default:
			return Int64GetDatum((int64) bits);
	}
}

/* Characters in UTF-8; what the server stores is left where it is. */
static void
encode_characters(char *text, Size len, DpPlain *out)
{
	char	   *utf8 = pg_server_to_any(text, (int) len, PG_UTF8);

	if (utf8 != text)
	{
		len = strlen(utf8);
		own(out, utf8, len);
	}
	out->data = (uint8 *) utf8;
	out->len = len;
}

static void
encode_send(const DpTypeInfo *info, Datum value, DpPlain *out)
{
	bytea	   *sent = SendFunctionCall(unconstify(FmgrInfo *, &info->base_send), value);

	own(out, sent, VARSIZE(sent));
	out->data = (uint8 *) VARDATA(sent);
	out->len = VARSIZE(sent) - VARHDRSZ;
}

/* Text forms must not depend on the session's settings. */
static int
fix_settings(void)
{
	int			level = NewGUCNestLevel();

	dp_pinned_settings_set_text_form();
	return level;
}

static void
encode_output(const DpTypeInfo *info, Datum value, DpPlain *out)
{
	int			level = info->base_oid == JSONBOID ? 0 : fix_settings();
	char	   *text = OutputFunctionCall(unconstify(FmgrInfo *, &info->base_out), value);
	char	   *utf8;

	if (level != 0)
		AtEOXact_GUC(true, level);
	utf8 = pg_server_to_any(text, strlen(text), PG_UTF8);
	if (utf8 != text)
	{
		dp_secret_wipe(text, strlen(text));
		pfree(text);
	}
	own(out, utf8, strlen(utf8));
	out->data = (uint8 *) utf8;
	out->len = out->owned_len;
}

void
dp_codec_encode(const DpTypeInfo *info, Datum value, DpPlain *out)
{
	struct varlena *v;

	out->owned = NULL;
	switch (info->encoding)
	{
		case DP_ENC_TEXT:
			v = (struct varlena *) DatumGetPointer(value);
			encode_characters(VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v), out);
			break;
		case DP_ENC_BYTES:
			v = (struct varlena *) DatumGetPointer(value);
			out->data = (uint8 *) VARDATA_ANY(v);
			out->len = VARSIZE_ANY_EXHDR(v);
			break;
		case DP_ENC_INTEGER:
			encode_integer(info, value, out);
			break;
		case DP_ENC_FIXED:
		case DP_ENC_SENDRECV:
			encode_send(info, value, out);
			break;
		case DP_ENC_OUTPUT:
			encode_output(info, value, out);
			break;
	}
}

static Datum
decode_characters(const uint8 *data, Size len)
{
	text	   *result;
	char	   *server;

	if (GetDatabaseEncoding() == PG_UTF8)
		return PointerGetDatum(cstring_to_text_with_len((const char *) data, (int) len));
	server = pg_any_to_server((const char *) data, (int) len, PG_UTF8);
	if (server == (const char *) data)
		return PointerGetDatum(cstring_to_text_with_len(server, (int) len));
	result = cstring_to_text(server);
	dp_secret_wipe(server, strlen(server));
	pfree(server);
	return PointerGetDatum(result);
}

/* Receive functions of the types that have this form read what is there, and want no terminator. */
static Datum
decode_received(const DpTypeInfo *info, const uint8 *data, Size len)
{
	StringInfoData buf = {.data = (char *) data,.len = (int) len,.maxlen = (int) len};

	return ReceiveFunctionCall(unconstify(FmgrInfo *, &info->base_recv), &buf, info->base_ioparam, -1);
}

/* Through a private, terminated copy: input functions want one. */
static Datum
decode_text_form(const DpTypeInfo *info, const uint8 *data, Size len)
{
	int			level = info->base_oid == JSONBOID ? 0 : fix_settings();
	char	   *copy = palloc(len + 1);
	char	   *server;
	Datum		result;

	memcpy(copy, data, len);
	copy[len] = '\0';
	server = pg_any_to_server(copy, (int) len, PG_UTF8);
	result = InputFunctionCall(unconstify(FmgrInfo *, &info->base_in), server, info->base_ioparam, -1);
	if (level != 0)
		AtEOXact_GUC(true, level);
	if (server != copy)
	{
		dp_secret_wipe(server, strlen(server));
		pfree(server);
	}
	dp_secret_wipe(copy, len);
	pfree(copy);
	return result;
}

Datum
dp_codec_decode(const DpTypeInfo *info, const uint8 *data, Size len)
{
	bytea	   *bytes;

	switch (info->encoding)
	{
		case DP_ENC_TEXT:
			return decode_characters(data, len);
		case DP_ENC_BYTES:
			bytes = palloc(VARHDRSZ + len);
			SET_VARSIZE(bytes, VARHDRSZ + len);
			memcpy(VARDATA(bytes), data, len);
			return PointerGetDatum(bytes);
		case DP_ENC_INTEGER:
			if (len != (Size) info->base_len)
				ereport(ERROR,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("could not open a protected value")));
			return decode_integer(info, data);
		case DP_ENC_OUTPUT:
			return decode_text_form(info, data, len);
		default:
			return decode_received(info, data, len);
	}
}
