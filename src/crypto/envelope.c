/*
 * envelope.c
 *	  Parse, seal, open and blind the stored form of a value; see envelope.h.
 */
#include "crypto/envelope.h"

#include <string.h>

#include <openssl/crypto.h>

#define TYPE_CODE_LEN	4
#define AAD_MAX			(DP_ENV_HEADER_LEN + DP_TOKEN_LEN + TYPE_CODE_LEN)

static inline uint8_t *
put_be32(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t) (value >> 24);
	to[1] = (uint8_t) (value >> 16);
	to[2] = (uint8_t) (value >> 8);
	to[3] = (uint8_t) value;
	return to + 4;
}

static inline uint32_t
get_be32(const uint8_t *from)
{
	return (uint32_t) from[0] << 24 | (uint32_t) from[1] << 16 |
		(uint32_t) from[2] << 8 | (uint32_t) from[3];
}

/* Header, token where there is one, and the type code, in one piece. */
static inline size_t
build_aad(const uint8_t *header, const uint8_t *token, uint32_t type_code,
		  uint8_t aad[AAD_MAX])
{
	size_t		len = DP_ENV_HEADER_LEN;

	memcpy(aad, header, len);
	aad[0] = (uint8_t) (DP_ENV_VERSION << 4 | (header[0] & 0x0f));
	if (token != NULL)
	{
		memcpy(aad + len, token, DP_TOKEN_LEN);
		len += DP_TOKEN_LEN;
	}
	put_be32(aad + len, type_code);
	return len + TYPE_CODE_LEN;
}

bool
dp_envelope_parse(const uint8_t *buf, size_t len, DpEnvelope *out)
{
	uint8_t		flags;
	uint64_t	key_id;

	if (len < DP_ENV_OVERHEAD || (buf[0] >> 4 != DP_ENV_VERSION && buf[0] >> 4 != DP_ENV_VERSION_BLINDED))
		return false;
	flags = buf[0] & 0x0f;
	out->blinded = buf[0] >> 4 == DP_ENV_VERSION_BLINDED;
	if (out->blinded && (flags & DP_ENV_TOKEN) == 0)
		return false;
	if (!dp_envelope_flags_ok(flags) || len < dp_envelope_size(0, flags))
		return false;
	key_id = (uint64_t) get_be32(buf + 1) << 32 | get_be32(buf + 5);
	if (key_id == 0)
		return false;

	out->flags = flags;
	out->key_id = key_id;
	out->header = buf;
	out->nonce = buf + DP_ENV_HEADER_LEN;
	out->ciphertext = out->nonce + DP_NONCE_LEN;
	out->token = NULL;
	if (flags & DP_ENV_TOKEN)
	{
		out->token = out->ciphertext;
		out->ciphertext += DP_TOKEN_LEN;
	}
	out->ciphertext_len = len - dp_envelope_size(0, flags);
	out->tag = out->ciphertext + out->ciphertext_len;
	return true;
}

void
dp_envelope_pad(uint8_t *buf, size_t plaintext_len, size_t len)
{
	buf[plaintext_len] = 0x80;
	memset(buf + plaintext_len + 1, 0, len - plaintext_len - 1);
}

bool
dp_envelope_unpad(const uint8_t *buf, size_t len, size_t *out_len)
{
	size_t		end = len;

	while (end > 0 && buf[end - 1] == 0)
		end--;
	if (end == 0 || buf[end - 1] != 0x80 || len < dp_envelope_padded_len(end - 1) ||
		(len & (len - 1)) != 0)
		return false;
	*out_len = end - 1;
	return true;
}

bool
dp_envelope_seal_with(DpAead *aead, uint64_t key_id, uint8_t flags, uint32_t type_code,
					  const uint8_t *token, const uint8_t given_nonce[DP_NONCE_LEN],
					  const uint8_t *plaintext, size_t plaintext_len, uint8_t *out)
{
	uint8_t		aad[AAD_MAX];
	size_t		aad_len;
	uint8_t    *at = out;
	uint8_t    *nonce;

	/* write nothing that dp_envelope_parse() would refuse */
	if (!dp_envelope_flags_ok(flags) || key_id == 0 ||
		((flags & DP_ENV_TOKEN) != 0) != (token != NULL))
		return false;

	*at++ = (uint8_t) (DP_ENV_VERSION << 4 | flags);
	at = put_be32(at, (uint32_t) (key_id >> 32));
	at = put_be32(at, (uint32_t) key_id);
	aad_len = build_aad(out, token, type_code, aad);
	nonce = at;
	at += DP_NONCE_LEN;
	if (token != NULL)
	{
		memcpy(at, token, DP_TOKEN_LEN);
		at += DP_TOKEN_LEN;
	}

	memcpy(nonce, given_nonce, DP_NONCE_LEN);
	return dp_aead_seal(aead, nonce, aad, aad_len, plaintext, plaintext_len,
						at, at + plaintext_len);
}

bool
dp_envelope_seal(DpAead *aead, uint64_t key_id, uint8_t flags, uint32_t type_code,
				 const uint8_t *token, const uint8_t *plaintext, size_t plaintext_len,
				 uint8_t *out)
{
	uint8_t		nonce[DP_NONCE_LEN];

	return dp_random_nonce(nonce) &&
		dp_envelope_seal_with(aead, key_id, flags, type_code, token, nonce, plaintext, plaintext_len, out);
}

bool
dp_envelope_open(DpAead *aead, const DpEnvelope *env, uint32_t type_code, uint8_t *out)
{
	uint8_t		aad[AAD_MAX];
	size_t		aad_len = build_aad(env->header, env->token, type_code, aad);

	if (env->blinded)
	{
		memset(out, 0, env->ciphertext_len);
		return false;
	}
	return dp_aead_open(aead, env->nonce, aad, aad_len,
						env->ciphertext, env->ciphertext_len, env->tag, out);
}

bool
dp_envelope_blind(DpPrf *prf, uint8_t *envelope, size_t len)
{
	uint8_t		pad[DP_PRF_OUT_LEN];
	DpEnvelope	env;
	size_t		i;

	if (!dp_envelope_parse(envelope, len, &env) || env.blinded)
		return false;
	if (env.token == NULL)
		return true;
	if (!dp_prf(prf, DP_PRF_BLIND, env.nonce, DP_NONCE_LEN, pad))
		return false;

	for (i = 0; i < DP_TOKEN_LEN; i++)
		envelope[DP_ENV_TOKEN_AT + i] ^= pad[i];
	OPENSSL_cleanse(pad, sizeof(pad));
	return true;
}

bool
dp_envelope_settle(DpPrf *prf, const DpEnvelope *env, uint8_t token[DP_TOKEN_LEN], DpEnvelope *out)
{
	uint8_t		pad[DP_PRF_OUT_LEN];
	size_t		i;

	if (!dp_prf(prf, DP_PRF_BLIND, env->nonce, DP_NONCE_LEN, pad))
		return false;
	for (i = 0; i < DP_TOKEN_LEN; i++)
		token[i] = env->token[i] ^ pad[i];
	OPENSSL_cleanse(pad, sizeof(pad));
	*out = *env;
	out->token = token;
	out->blinded = false;
	return true;
}
