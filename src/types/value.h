/*
 * value.h
 *	  Sealing base values into envelopes and opening them again.
 *
 * A plaintext Datum that a function here returns is palloc'd (where it is not
 * by value); whoever only needs it for a moment gives it to
 * dp_value_dispose(), which wipes it.
 */
#ifndef DP_TYPES_VALUE_H
#define DP_TYPES_VALUE_H

#include "postgres.h"

#include "keys/keys.h"
#include "types/typeinfo.h"
#include "types/types.h"

/*
 * One stored value, parsed.  Integrity failures all raise the same error
 * (ERRCODE_DATA_CORRUPTED).
 */
typedef struct DpValue
{
	const struct varlena *datum;
	DpEnvelope	env;
	bool		literal;		/* sealed under the literal key */
	int32		family;			/* 0 for literals */
} DpValue;

/*
 * The envelope as it is authenticated and compared: itself, or, where a restore
 * stored it before the keys were there, a copy with its token (envelope.h).
 */
typedef struct DpSettled
{
	DpEnvelope	env;
	uint8		token[DP_TOKEN_LEN];
} DpSettled;

extern const DpEnvelope *dp_value_settle_blinded(const DpEnvelope *env, DpSettled *room);

static inline const DpEnvelope *
dp_value_settle(const DpEnvelope *env, DpSettled *room)
{
	return likely(!env->blinded) ? env : dp_value_settle_blinded(env, room);
}

/* Open what is sealed: dp_envelope_open() for whatever is stored. */
static inline bool
dp_value_open_envelope(const DpKey *key, const DpEnvelope *env, uint32 type_code, uint8 *out)
{
	DpSettled	room;

	return dp_envelope_open(key->aead, dp_value_settle(env, &room), type_code, out);
}

/* True for a well-formed value that is no literal; looks nothing up. */
extern bool dp_value_is_stored(Datum value);

/* Detoasted datum to DpValue; reads at most the row of the key. */
extern void dp_value_parse(const struct varlena *datum, bool in_comparator, DpValue *out);

/*
 * Open.  False where the key is suspended, expired or destroyed.  Reports
 * nothing to the audit log: that is the caller's.
 */
extern bool dp_value_open(const DpTypeInfo *info, const DpValue *value, DpKeyUse use,
						  bool in_comparator, Datum *out);

/* The same with a key that dp_keys_get() has just given; over text, as a C string. */
extern Datum dp_value_open_keyed(const DpTypeInfo *info, const DpValue *value, const DpKey *key);
extern char *dp_value_open_text(const DpTypeInfo *info, const DpValue *value, const DpKey *key);
extern void dp_value_dispose(const DpTypeInfo *info, Datum plain);

/*
 * Seal under key.  form: DP_ENV_LITERAL, DP_ENV_TOKEN (store a search token) and
 * DP_ENV_PADDED, what the modifier asks for or an older envelope has.
 */
extern struct varlena *dp_value_seal(const DpTypeInfo *info, Datum plain, const DpKey *key, uint8 form);

/* Padded, as what is least bytes long is. */
extern struct varlena *dp_value_seal_padded(const DpTypeInfo *info, Datum plain, const DpKey *key, uint8 form, Size least);

/*
 * Seal what was computed from a stored value, or from a literal, under the same
 * key and with a token.  how: what was computed.  The same call gives the same
 * bytes.
 */
extern struct varlena *dp_value_seal_derived(const DpTypeInfo *info, const DpValue *source,
											 const char *how, Datum plain);

static inline uint8
dp_value_form_of(const DpModifier *modifier)
{
	return (modifier->searchable ? DP_ENV_TOKEN : 0) | (modifier->padded ? DP_ENV_PADDED : 0);
}

/* Is a stored value in the form that a modifier asks for?  Padding does no harm. */
static inline bool
dp_value_has_form(const DpEnvelope *env, const DpModifier *modifier)
{
	return (env->token != NULL) == modifier->searchable &&
		(!modifier->padded || (env->flags & DP_ENV_PADDED) != 0);
}

/* 128-bit search token, 64-bit index hash, pseudonym of a plaintext. */
extern void dp_value_token(const DpTypeInfo *info, Datum plain, uint8 out[DP_TOKEN_LEN]);
extern uint64 dp_value_hash(const DpTypeInfo *info, Datum plain);
extern void dp_value_pseudonym(const DpTypeInfo *info, Datum plain, const char *grantee,
							   uint8 out[DP_TOKEN_LEN]);

/* The text form enc:v1:<base64>, palloc'd; token blinded. */
extern char *dp_value_to_armor(const struct varlena *datum);

/*
 * The same as it leaves for a subscriber, by logical decoding or a walsender's COPY:
 * nobody who writes text can make or keep it without a replication connection.
 */
extern char *dp_value_to_replicated_armor(const struct varlena *datum);

/* Was the text made by the function above, under the PRF of this database? */
extern bool dp_value_is_replicated(const char *armor);

/*
 * From either text form; ERRCODE_INVALID_TEXT_REPRESENTATION where malformed.  Where
 * no key is there yet its token stays blinded.
 */
extern struct varlena *dp_value_from_armor(const char *armor, const char *type_name);
extern bool dp_value_is_armor(const char *text);

#define DP_ARMOR_PREFIX "enc:v1:"

#endif							/* DP_TYPES_VALUE_H */
