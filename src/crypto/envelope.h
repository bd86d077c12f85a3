/*
 * envelope.h
 *	  The stored form of one protected value.
 *
 *	offset	length	field
 *	0		1		version (high nibble, 1) and flags (low nibble)
 *	1		8		key id, big endian, never 0
 *	9		12		nonce
 *	21		16		search token, present where DP_ENV_TOKEN is set
 *	21|37	n		ciphertext
 *	..		16		tag
 *
 * AAD: header (9 bytes) | token (0 or 16) | type code (4 bytes, big endian).
 * 37 bytes over the plaintext, 53 with a token.  The type code is a stable
 * number of the base type and is not stored: a value opened as another type
 * fails like any forgery.
 *
 * The nonce comes before the token, because PostgreSQL compares the bytes of any
 * type for anybody (the record operators *= and *<): at the random nonce, which
 * never repeats, such a comparison ends.
 *
 * Version 2 is the same with the token blinded, as it is in the text form: a
 * restore stores it where the key that takes the blinding away is not there yet.
 * What is authenticated is version 1 in any case.
 *
 * Parsing never reads outside [buf, buf + len); every failure looks the same to
 * the caller of open.
 */
#ifndef DP_CRYPTO_ENVELOPE_H
#define DP_CRYPTO_ENVELOPE_H

#include "crypto/aead.h"

#define DP_ENV_VERSION		1
#define DP_ENV_VERSION_BLINDED	2	/* always with DP_ENV_TOKEN */
#define DP_ENV_TOKEN		0x01	/* a search token follows the nonce */
#define DP_ENV_COMPRESSED	0x02	/* the plaintext is compressed */
#define DP_ENV_LITERAL		0x04	/* sealed under the literal key; never stored */
#define DP_ENV_PADDED		0x08	/* the plaintext is padded; never with COMPRESSED */
#define DP_ENV_FLAGS_KNOWN	0x0f

/* No envelope is both compressed and padded. */
static inline bool
dp_envelope_flags_ok(uint8_t flags)
{
	return (flags & ~DP_ENV_FLAGS_KNOWN) == 0 &&
		(flags & (DP_ENV_COMPRESSED | DP_ENV_PADDED)) != (DP_ENV_COMPRESSED | DP_ENV_PADDED);
}

#define DP_ENV_HEADER_LEN	9
#define DP_ENV_TOKEN_AT		(DP_ENV_HEADER_LEN + DP_NONCE_LEN)
#define DP_ENV_OVERHEAD		(DP_ENV_HEADER_LEN + DP_NONCE_LEN + DP_TAG_LEN)

typedef struct DpEnvelope
{
	uint8_t		flags;
	uint64_t	key_id;
	const uint8_t *header;		/* start of the envelope */
	const uint8_t *nonce;
	const uint8_t *token;		/* NULL without DP_ENV_TOKEN */
	const uint8_t *ciphertext;
	size_t		ciphertext_len; /* = length of what was sealed: compressed or padded, where flags
								 * say so */
	const uint8_t *tag;
	bool		blinded;		/* the token is: compare nothing, open nothing before it is
								 * settled */
} DpEnvelope;

/* False where buf is not a well-formed envelope.  out points into buf. */
extern bool dp_envelope_parse(const uint8_t *buf, size_t len, DpEnvelope *out) DP_MUST_CHECK;

static inline size_t
dp_envelope_size(size_t plaintext_len, uint8_t flags)
{
	return plaintext_len + DP_ENV_OVERHEAD + ((flags & DP_ENV_TOKEN) ? DP_TOKEN_LEN : 0);
}

/*
 * Padding (as in ISO/IEC 7816-4): the plaintext, a byte 0x80, zeros, up to a power of two
 * that has room for both, 16 at least: the next one, but for what is padded as a longer one is.
 */
#define DP_ENV_PAD_MIN	16

static inline size_t
dp_envelope_padded_len(size_t plaintext_len)
{
	size_t		len = DP_ENV_PAD_MIN;

	while (len < plaintext_len + 1)
		len *= 2;
	return len;
}

/* Write the padding after a plaintext; len: dp_envelope_padded_len() of it, or of more. */
extern void dp_envelope_pad(uint8_t *buf, size_t plaintext_len, size_t len);

/* The length of the plaintext within; false where it is not padded. */
extern bool dp_envelope_unpad(const uint8_t *buf, size_t len, size_t *out_len) DP_MUST_CHECK;

/* out: dp_envelope_size() bytes.  token: NULL without DP_ENV_TOKEN. */
extern bool dp_envelope_seal(DpAead *aead, uint64_t key_id, uint8_t flags, uint32_t type_code,
							 const uint8_t *token, const uint8_t *plaintext, size_t plaintext_len,
							 uint8_t *out) DP_MUST_CHECK;

/*
 * The same under a nonce of the caller's: a PRF of the plaintext and of a random
 * nonce of its own, so that only the same plaintext ever meets it again.
 */
extern bool dp_envelope_seal_with(DpAead *aead, uint64_t key_id, uint8_t flags, uint32_t type_code,
								  const uint8_t *token, const uint8_t given_nonce[DP_NONCE_LEN],
								  const uint8_t *plaintext, size_t plaintext_len,
								  uint8_t *out) DP_MUST_CHECK;

/* out: env->ciphertext_len bytes; zeros on failure. */
extern bool dp_envelope_open(DpAead *aead, const DpEnvelope *env, uint32_t type_code,
							 uint8_t *out) DP_MUST_CHECK;

/*
 * XOR the token inside a (private copy of a) well-formed envelope with
 * PRF(domain DP_PRF_BLIND, nonce); its own inverse.  No-op without a token.
 */
#define DP_PRF_HASH		'h'		/* index hashes */
#define DP_PRF_TOKEN	't'		/* search tokens */
#define DP_PRF_BLIND	'b'		/* token blinding in text and binary forms */
#define DP_PRF_REPLICATED 'r'	/* marks text forms that leave for a subscriber */
#define DP_PRF_MASK		'm'		/* mask "token": a pseudonym per grantee */
#define DP_PRF_FOLD		'f'		/* nonces of folded values */
#define DP_PRF_WORD		'w'		/* tokens of parts of a text */
extern bool dp_envelope_blind(DpPrf *prf, uint8_t *envelope, size_t len) DP_MUST_CHECK;

/* Give a well-formed envelope that carries a token, and no mark of blinding, the mark. */
static inline void
dp_envelope_mark_blinded(uint8_t *envelope)
{
	envelope[0] = (uint8_t) (DP_ENV_VERSION_BLINDED << 4 | (envelope[0] & 0x0f));
}

/* Of an envelope that is blinded, with its token in the clear; token: room that lives as long as out. */
extern bool dp_envelope_settle(DpPrf *prf, const DpEnvelope *env, uint8_t token[DP_TOKEN_LEN],
							   DpEnvelope *out) DP_MUST_CHECK;

#endif							/* DP_CRYPTO_ENVELOPE_H */
