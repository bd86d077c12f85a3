/*
 * value.c
 *	  Sealing base values into envelopes and opening them again.
 *
 * Long plaintext is compressed before it is sealed (flag DP_ENV_COMPRESSED):
 *	4 bytes length before compression, big endian | pglz data
 * or, where the column asks for it, padded (flag DP_ENV_PADDED, envelope.h), so
 * that its length tells little.  Short documents, labels of enums and all else
 * that is written down as text is padded unasked: {"hiv": true} is one letter
 * shorter than {"hiv": false}.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/secret.h"
#include "common/base64.h"
#include "common/pg_lzcompress.h"
#include "mb/pg_wchar.h"
#include "types/codec.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define COMPRESS_MIN	1024	/* bytes; shorter plaintext stays as it is */
#define PAD_UNASKED		64		/* bytes; longer plaintext is padded where it is asked for */
#define PLAIN_MAX		(MaxAllocSize / 2)

static void
report_corrupted(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("could not open a protected value"),
			 errdetail("It is damaged, was altered, or was moved here from another place."),
			 errhint("dataprotect.verify() finds the values concerned.")));
}

bool
dp_value_is_stored(Datum value)
{
	struct varlena *datum = (struct varlena *) PG_DETOAST_DATUM_PACKED(value);
	DpEnvelope	env;

	return dp_envelope_parse((const uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env) &&
		(env.flags & DP_ENV_LITERAL) == 0;
}

const DpEnvelope *
dp_value_settle_blinded(const DpEnvelope *env, DpSettled *room)
{
	if (!dp_envelope_settle(dp_keys_prf(), env, room->token, &room->env))
		report_corrupted();
	return &room->env;
}

void
dp_value_parse(const struct varlena *datum, bool in_comparator, DpValue *out)
{
	DpKeyPurpose purpose;

	out->datum = datum;
	if (!dp_envelope_parse((const uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &out->env))
		report_corrupted();
	out->family = dp_keys_family_of(out->env.key_id, in_comparator, &purpose);
	out->literal = purpose == DP_PURPOSE_LITERAL;
	if (out->literal != ((out->env.flags & DP_ENV_LITERAL) != 0) ||
		(!out->literal && purpose != DP_PURPOSE_DATA && purpose != DP_PURPOSE_SUBJECT))
		report_corrupted();
}

/* The length of the plaintext in buf, which holds what was sealed. */
static inline Size
unpadded_len(const DpEnvelope *env, const uint8 *buf, Size len)
{
	if ((env->flags & DP_ENV_PADDED) != 0 && !dp_envelope_unpad(buf, len, &len))
		report_corrupted();
	return len;
}

/* Plaintext to Datum; buf holds len bytes as they were sealed. */
static Datum
decode_opened(const DpTypeInfo *info, const DpEnvelope *env, const uint8 *buf, Size len)
{
	uint8	   *raw;
	Size		raw_len;
	Datum		result;

	if ((env->flags & DP_ENV_COMPRESSED) == 0)
		return dp_codec_decode(info, buf, unpadded_len(env, buf, len));
	if (len < 4)
		report_corrupted();
	raw_len = ((Size) buf[0] << 24) | ((Size) buf[1] << 16) | ((Size) buf[2] << 8) | buf[3];
	if (raw_len > PLAIN_MAX)
		report_corrupted();
	raw = dp_secret_acquire(raw_len);
	if (pglz_decompress((const char *) buf + 4, (int32) (len - 4), (char *) raw, (int32) raw_len,
						true) != (int32) raw_len)
		report_corrupted();
	result = dp_codec_decode(info, raw, raw_len);
	dp_secret_release(raw);
	return result;
}

/* Is what was sealed, byte for byte, what a value of the base type holds? */
static inline bool
opens_in_place(const DpTypeInfo *info, const DpEnvelope *env)
{
	if ((env->flags & DP_ENV_COMPRESSED) != 0)
		return false;
	return info->encoding == DP_ENC_BYTES ||
		(info->encoding == DP_ENC_TEXT && GetDatabaseEncoding() == PG_UTF8);
}

char *
dp_value_open_text(const DpTypeInfo *info, const DpValue *value, const DpKey *key)
{
	const DpEnvelope *env = &value->env;
	Datum		plain;
	char	   *result;

	Assert(info->encoding == DP_ENC_TEXT);
	if (likely(opens_in_place(info, env)))
	{
		result = palloc(env->ciphertext_len + 1);
		if (!dp_value_open_envelope(key, env, info->code, (uint8 *) result))
			report_corrupted();
		result[unpadded_len(env, (uint8 *) result, env->ciphertext_len)] = '\0';
		return result;
	}
	plain = dp_value_open_keyed(info, value, key);
	result = text_to_cstring((text *) DatumGetPointer(plain));
	dp_value_dispose(info, plain);
	return result;
}

Datum
dp_value_open_keyed(const DpTypeInfo *info, const DpValue *value, const DpKey *key)
{
	const DpEnvelope *env = &value->env;
	uint8	   *buf;
	Datum		result;

	/* The usual case is opened where it will stay. */
	if (opens_in_place(info, env))
	{
		struct varlena *opened = palloc(VARHDRSZ + env->ciphertext_len);

		if (!dp_value_open_envelope(key, env, info->code, (uint8 *) VARDATA(opened)))
			report_corrupted();
		SET_VARSIZE(opened, VARHDRSZ + unpadded_len(env, (uint8 *) VARDATA(opened), env->ciphertext_len));
		return PointerGetDatum(opened);
	}

	buf = dp_secret_acquire(env->ciphertext_len);
	if (!dp_value_open_envelope(key, env, info->code, buf))
		report_corrupted();
	result = decode_opened(info, env, buf, env->ciphertext_len);
	dp_secret_release(buf);
	return result;
}

bool
dp_value_open(const DpTypeInfo *info, const DpValue *value, DpKeyUse use, bool in_comparator,
			  Datum *out)
{
	DpKey		key;

	if (dp_keys_get(value->env.key_id, use, in_comparator, &key) != DP_KEY_OK)
		return false;
	*out = dp_value_open_keyed(info, value, &key);
	return true;
}

void
dp_value_dispose(const DpTypeInfo *info, Datum plain)
{
	void	   *pointer;

	if (info->base_byval)
		return;
	pointer = DatumGetPointer(plain);
	dp_secret_wipe(pointer, info->base_len == -1 ? VARSIZE_ANY(pointer) : (Size) info->base_len);
	pfree(pointer);
}

/* PRF over the type's code and the canonical form. */
static void
value_prf(const DpTypeInfo *info, Datum plain, uint8 domain, const char *extra,
		  uint8 out[DP_PRF_OUT_LEN])
{
	DpPlain		canonical;
	Size		extra_len = extra != NULL ? strlen(extra) + 1 : 0;
	Size		len;
	uint8	   *msg;
	bool		ok;

	dp_codec_canonical(info, plain, &canonical);
	len = 4 + extra_len + canonical.len;
	msg = dp_secret_acquire(len);
	msg[0] = (uint8) (info->code >> 24);
	msg[1] = (uint8) (info->code >> 16);
	msg[2] = (uint8) (info->code >> 8);
	msg[3] = (uint8) info->code;
	if (extra_len > 0)
		memcpy(msg + 4, extra, extra_len);
	memcpy(msg + 4 + extra_len, canonical.data, canonical.len);
	dp_plain_done(&canonical);
	ok = dp_prf(dp_keys_prf(), domain, msg, len, out);
	dp_secret_release(msg);
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not compute a search token")));
}

void
dp_value_token(const DpTypeInfo *info, Datum plain, uint8 out[DP_TOKEN_LEN])
{
	uint8		full[DP_PRF_OUT_LEN];

	if (!info->can_token)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s cannot be searchable", info->name),
				 errdetail("Its values have no single form that stands for equality.")));
	value_prf(info, plain, DP_PRF_TOKEN, NULL, full);
	memcpy(out, full, DP_TOKEN_LEN);
}

uint64
dp_value_hash(const DpTypeInfo *info, Datum plain)
{
	uint8		full[DP_PRF_OUT_LEN];
	uint64		hash;

	value_prf(info, plain, DP_PRF_HASH, NULL, full);
	memcpy(&hash, full, sizeof(hash));
	return hash;
}

void
dp_value_pseudonym(const DpTypeInfo *info, Datum plain, const char *grantee,
				   uint8 out[DP_TOKEN_LEN])
{
	uint8		full[DP_PRF_OUT_LEN];

	value_prf(info, plain, DP_PRF_MASK, grantee, full);
	memcpy(out, full, DP_TOKEN_LEN);
}

/* Compressed form in a secret buffer, or NULL where it does not pay. */
static uint8 *
compress_plain(const DpPlain *plain, Size *out_len)
{
	uint8	   *buf;
	int32		len;

	if (plain->len < COMPRESS_MIN)
		return NULL;
	buf = dp_secret_acquire(4 + PGLZ_MAX_OUTPUT(plain->len));
	len = pglz_compress((const char *) plain->data, (int32) plain->len, (char *) buf + 4,
						PGLZ_strategy_default);
	if (len < 0)
	{
		dp_secret_release(buf);
		return NULL;
	}
	buf[0] = (uint8) (plain->len >> 24);
	buf[1] = (uint8) (plain->len >> 16);
	buf[2] = (uint8) (plain->len >> 8);
	buf[3] = (uint8) plain->len;
	*out_len = 4 + (Size) len;
	return buf;
}

static uint8 *
pad_plain(const DpPlain *plain, Size least, Size *out_len)
{
	uint8	   *buf;

	*out_len = dp_envelope_padded_len(Max(plain->len, least));
	buf = dp_secret_acquire(*out_len);
	memcpy(buf, plain->data, plain->len);
	dp_envelope_pad(buf, plain->len, *out_len);
	return buf;
}

/* least: as long as which it is padded, where it is; nonce: NULL for a random one. */
static struct varlena *
seal_with(const DpTypeInfo *info, Datum plain, const DpKey *key, DpKeyUse use, uint8 form,
		  Size least, const uint8 *nonce)
{
	DpKey		copy = *key;
	DpPlain		encoded;
	uint8		token[DP_TOKEN_LEN];
	uint8		flags = form;
	uint8	   *changed;		/* padded or compressed */
	const uint8 *data;
	Size		len;
	Size		size;
	struct varlena *result;
	bool		ok;

	if ((form & DP_ENV_TOKEN) != 0)
	{
		/* Computing it may look up keys, and so drop the context we hold. */
		dp_value_token(info, plain, token);
		if (dp_keys_get(copy.key_id, use, false, &copy) != DP_KEY_OK)
			report_corrupted();
	}
	dp_codec_encode(info, plain, &encoded);
	if (encoded.len > PLAIN_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value too long to be protected")));
	data = encoded.data;
	len = encoded.len;
	if (info->encoding == DP_ENC_OUTPUT && encoded.len < PAD_UNASKED)
		flags |= DP_ENV_PADDED;
	if ((flags & DP_ENV_PADDED) != 0)
		changed = pad_plain(&encoded, least, &len);
	else if ((changed = compress_plain(&encoded, &len)) != NULL)
		flags |= DP_ENV_COMPRESSED;
	if (changed != NULL)
		data = changed;
	size = dp_envelope_size(len, flags);
	result = palloc(VARHDRSZ + size);
	SET_VARSIZE(result, VARHDRSZ + size);
	if (nonce == NULL)
		ok = dp_envelope_seal(copy.aead, copy.key_id, flags, info->code, (form & DP_ENV_TOKEN) != 0 ? token : NULL,
							  data, len, (uint8 *) VARDATA(result));
	else
		ok = dp_envelope_seal_with(copy.aead, copy.key_id, flags, info->code,
								   (form & DP_ENV_TOKEN) != 0 ? token : NULL, nonce,
								   data, len, (uint8 *) VARDATA(result));
	if (changed != NULL)
		dp_secret_release(changed);
	dp_plain_done(&encoded);
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not seal a value")));
	return result;
}

struct varlena *
dp_value_seal(const DpTypeInfo *info, Datum plain, const DpKey *key, uint8 form)
{
	return seal_with(info, plain, key, DP_USE_READ, form, 0, NULL);
}

struct varlena *
dp_value_seal_padded(const DpTypeInfo *info, Datum plain, const DpKey *key, uint8 form, Size least)
{
	return seal_with(info, plain, key, DP_USE_READ, form | DP_ENV_PADDED, least, NULL);
}

/*
 * The nonce is a PRF of the source's, of what was done and of what came out: the
 * same call gives the same bytes, and uses the key up no more than the source did.
 */
struct varlena *
dp_value_seal_derived(const DpTypeInfo *info, const DpValue *source, const char *how, Datum plain)
{
	uint8		full[DP_PRF_OUT_LEN];
	Size		how_len = strlen(how) + 1;
	DpPlain		encoded;
	DpKey		key;
	uint8	   *msg;
	uint8	   *at;
	bool		ok;

	dp_codec_encode(info, plain, &encoded);
	msg = at = dp_secret_acquire(DP_ENV_HEADER_LEN + DP_NONCE_LEN + how_len + encoded.len);
	memcpy(at, source->env.header, DP_ENV_HEADER_LEN);
	memcpy(at += DP_ENV_HEADER_LEN, source->env.nonce, DP_NONCE_LEN);
	memcpy(at += DP_NONCE_LEN, how, how_len);
	memcpy(at += how_len, encoded.data, encoded.len);
	at += encoded.len;
	dp_plain_done(&encoded);
	ok = dp_prf(dp_keys_prf(), DP_PRF_FOLD, msg, at - msg, full);
	dp_secret_release(msg);
	if (!ok || dp_keys_get(source->env.key_id, DP_USE_MAINTAIN, false, &key) != DP_KEY_OK)
		report_corrupted();
	return seal_with(info, plain, &key, DP_USE_MAINTAIN,
					 source->literal ? DP_ENV_LITERAL : DP_ENV_TOKEN | (source->env.flags & DP_ENV_PADDED), 0, full);
}

bool
dp_value_is_armor(const char *text)
{
	return strncmp(text, DP_ARMOR_PREFIX, strlen(DP_ARMOR_PREFIX)) == 0;
}

/*
 * A marked text form has this bit in the envelope's first byte, and behind the
 * envelope the first bytes of PRF(DP_PRF_REPLICATED, all before them).
 */
#define MARKED		0x80
#define MARK_LEN	8

static void
make_mark(const uint8 *marked, Size len, uint8 out[MARK_LEN])
{
	uint8		mac[DP_PRF_OUT_LEN];

	if (!dp_prf(dp_keys_prf(), DP_PRF_REPLICATED, marked, len, mac))
		report_corrupted();
	memcpy(out, mac, MARK_LEN);
}

static char *
encode_armor(const uint8 *bytes, Size len)
{
	Size		prefix = strlen(DP_ARMOR_PREFIX);
	int			max = pg_b64_enc_len((int) len);
	char	   *out = palloc(prefix + max + 1);
	int			n;

	memcpy(out, DP_ARMOR_PREFIX, prefix);
	n = pg_b64_encode((const void *) bytes, (int) len, out + prefix, max);
	if (n < 0)
		elog(ERROR, "could not encode a protected value");
	out[prefix + n] = '\0';
	return out;
}

static char *
to_armor(const struct varlena *datum, bool marked)
{
	Size		len = VARSIZE_ANY_EXHDR(datum);
	uint8	   *copy = palloc(len + MARK_LEN);
	DpEnvelope	env;
	char	   *out;

	memcpy(copy, VARDATA_ANY(datum), len);
	if (!dp_envelope_parse(copy, len, &env))
		report_corrupted();
	/* Comparing text must not be an oracle for equality. */
	if (env.blinded)
		copy[0] = (uint8) (DP_ENV_VERSION << 4 | env.flags);
	else if (env.token != NULL && !dp_envelope_blind(dp_keys_prf(), copy, len))
		report_corrupted();
	if (marked)
	{
		copy[0] |= MARKED;
		make_mark(copy, len, copy + len);
		len += MARK_LEN;
	}
	out = encode_armor(copy, len);
	pfree(copy);
	return out;
}

char *
dp_value_to_armor(const struct varlena *datum)
{
	return to_armor(datum, false);
}

char *
dp_value_to_replicated_armor(const struct varlena *datum)
{
	return to_armor(datum, true);
}

/* The bytes of a text form behind room for a header; *len is negative where it has none. */
static struct varlena *
decode_armor(const char *armor, int *len)
{
	const char *text = armor + strlen(DP_ARMOR_PREFIX);
	int			max = pg_b64_dec_len((int) strlen(text));
	struct varlena *result = palloc(VARHDRSZ + max + 1);

	*len = pg_b64_decode(text, (int) strlen(text), (void *) VARDATA(result), max);
	return result;
}

static bool
is_marked(const struct varlena *bytes, int len)
{
	return len > MARK_LEN && (((const uint8 *) VARDATA(bytes))[0] & MARKED) != 0;
}

bool
dp_value_is_replicated(const char *armor)
{
	int			len;
	struct varlena *bytes = decode_armor(armor, &len);
	uint8		mark[MARK_LEN];
	DpKey		key;

	/* where no key was ever created, there is no PRF */
	if (!is_marked(bytes, len) || !dp_keys_literal(&key))
		return false;
	make_mark((const uint8 *) VARDATA(bytes), len - MARK_LEN, mark);
	return dp_equal_ct(mark, VARDATA(bytes) + len - MARK_LEN, MARK_LEN);
}

struct varlena *
dp_value_from_armor(const char *armor, const char *type_name)
{
	int			n;
	struct varlena *result = decode_armor(armor, &n);
	DpEnvelope	env;

	if (is_marked(result, n))
	{
		((uint8 *) VARDATA(result))[0] &= (uint8) ~MARKED;
		n -= MARK_LEN;
	}
	if (n < 0 || !dp_envelope_parse((uint8 *) VARDATA(result), n, &env) ||
		env.blinded || (env.flags & DP_ENV_LITERAL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("malformed ciphertext for type %s", type_name),
				 errhint("Ciphertext is what an unprivileged role reads, unchanged from \"%s\" to its end.",
						 DP_ARMOR_PREFIX)));
	SET_VARSIZE(result, VARHDRSZ + n);
	if (env.token == NULL)
		return result;
	if (!dp_keys_are_there())
		dp_envelope_mark_blinded((uint8 *) VARDATA(result));
	else if (!dp_envelope_blind(dp_keys_prf(), (uint8 *) VARDATA(result), n))
		report_corrupted();
	return result;
}
