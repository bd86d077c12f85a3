/*
 * aead.c
 *	  AES-256-GCM under one key, SHA-256, constant-time comparison.
 *
 * Short messages, which most values are, go by short_gcm.h.  For others the cipher
 * is fetched once a process (an implicit fetch per call costs more than the
 * decryption), each key keeps one scheduled context per direction from its first long
 * message on, and a call only sets nonce, AAD, data and tag.
 */
#include "crypto/aead.h"
#include "crypto/short_gcm.h"

#include <limits.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

struct DpAead
{
	DpShortGcm	brief;
	EVP_CIPHER_CTX *seal;		/* of long messages; NULL until the first */
	EVP_CIPHER_CTX *open;
	uint8_t		key[DP_KEY_LEN];
	bool		keyed;			/* false after a failed rekey: refuse to work */
	bool		scheduled;		/* seal and open have this key */
};

/* Held until the process ends. */
static EVP_CIPHER *cipher = NULL;

static bool
fetch_cipher(void)
{
	if (cipher == NULL)
		cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (cipher == NULL)
		ERR_clear_error();
	return cipher != NULL;
}

DpAead *
dp_aead_new(const uint8_t key[DP_KEY_LEN])
{
	DpAead	   *aead = OPENSSL_zalloc(sizeof(DpAead));

	if (aead != NULL && !dp_aead_rekey(aead, key))
	{
		dp_aead_free(aead);
		return NULL;
	}
	return aead;
}

/* Contexts for long messages under a key; those that are there are used again. */
static bool
schedule(DpAead *aead, const uint8_t key[DP_KEY_LEN])
{
	/* length -1: all of the IV is given with each message, see open_steps() */
	static const uint8_t whole_iv[DP_NONCE_LEN] = {0};
	const EVP_CIPHER *first = NULL;

	if (aead->seal == NULL)
		aead->seal = EVP_CIPHER_CTX_new();
	if (aead->open == NULL)
		aead->open = EVP_CIPHER_CTX_new();
	if (aead->seal == NULL || aead->open == NULL || !fetch_cipher())
		return false;
	/* a context that has its cipher is not set up again */
	if (EVP_CIPHER_CTX_get0_cipher(aead->seal) == NULL || EVP_CIPHER_CTX_get0_cipher(aead->open) == NULL)
		first = cipher;
	aead->scheduled =
		EVP_EncryptInit_ex(aead->seal, first, NULL, key, NULL) == 1 &&
		EVP_DecryptInit_ex(aead->open, first, NULL, key, NULL) == 1 &&
		EVP_CIPHER_CTX_ctrl(aead->open, EVP_CTRL_GCM_SET_IV_FIXED, -1, (void *) whole_iv) == 1;
	return aead->scheduled;
}

static inline bool
is_scheduled(DpAead *aead)
{
	return aead->scheduled || schedule(aead, aead->key);
}

/* Wipe what an earlier key left, but for the short way's contexts: the next key goes there at once. */
static void
forget_key(DpAead *aead)
{
	static const uint8_t zeros[DP_KEY_LEN] = {0};

	if (aead->scheduled)
		(void) !schedule(aead, zeros);
	aead->scheduled = aead->keyed = false;
	OPENSSL_cleanse(aead->key, DP_KEY_LEN);
}

/*
 * On failure the context is unusable until a later rekey succeeds; it never
 * goes on with the old key, nor with one key for each direction.
 */
bool
dp_aead_rekey(DpAead *aead, const uint8_t key[DP_KEY_LEN])
{
	forget_key(aead);
	if (dp_short_gcm_is_allowed())
	{
		memcpy(aead->key, key, DP_KEY_LEN);
		aead->keyed = dp_short_gcm_rekey(&aead->brief, key);
	}
	else
		aead->keyed = schedule(aead, key);
	if (!aead->keyed)
	{
		forget_key(aead);
		ERR_clear_error();
	}
	return aead->keyed;
}

/*
 * The schedules are overwritten by those of zeros.  Whoever still holds the
 * context must not seal under that: it is marked unusable as well.
 */
void
dp_aead_clear(DpAead *aead)
{
	static const uint8_t zeros[DP_KEY_LEN] = {0};

	(void) !dp_aead_rekey(aead, zeros);
	aead->keyed = false;
}

void
dp_aead_free(DpAead *aead)
{
	if (aead == NULL)
		return;
	/* OpenSSL wipes the key schedules */
	dp_short_gcm_free(&aead->brief);
	EVP_CIPHER_CTX_free(aead->seal);
	EVP_CIPHER_CTX_free(aead->open);
	OPENSSL_clear_free(aead, sizeof(DpAead));
}

/* The short way has its contexts wherever it is allowed. */
static inline bool
is_short(const DpAead *aead, size_t in_len)
{
	return in_len <= DP_SHORT_GCM_MAX && aead->brief.gcm != NULL;
}

/*
 * Steps of one seal.  EVP_*Update treats a NULL or empty input as "finish" in
 * some modes, so empty parts are left out.
 */
static bool
seal_steps(EVP_CIPHER_CTX *ctx, const uint8_t *nonce,
		   const uint8_t *aad, size_t aad_len,
		   const uint8_t *in, size_t in_len, uint8_t *out, uint8_t *tag)
{
	int			n;
	int			rest;

	/* length -1: the whole IV; cheaper than EVP_EncryptInit_ex(), see open_steps() */
	if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_IV_FIXED, -1, (void *) nonce) != 1)
		return false;
	if (aad_len > 0 && EVP_EncryptUpdate(ctx, NULL, &n, aad, (int) aad_len) != 1)
		return false;
	n = 0;
	if (in_len > 0 && EVP_EncryptUpdate(ctx, out, &n, in, (int) in_len) != 1)
		return false;
	/* GCM is a stream: nothing is left for the final step to write */
	if (EVP_EncryptFinal_ex(ctx, tag, &rest) != 1 || (size_t) n != in_len || rest != 0)
		return false;
	return EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, DP_TAG_LEN, tag) == 1;
}

bool
dp_aead_seal(DpAead *aead, const uint8_t nonce[DP_NONCE_LEN],
			 const uint8_t *aad, size_t aad_len,
			 const uint8_t *in, size_t in_len,
			 uint8_t *out, uint8_t tag[DP_TAG_LEN])
{
	if (aead->keyed && aad_len <= INT_MAX && in_len <= INT_MAX &&
		(is_short(aead, in_len) ? dp_short_gcm_seal(&aead->brief, nonce, aad, aad_len, in, in_len, out, tag)
		 : is_scheduled(aead) && seal_steps(aead->seal, nonce, aad, aad_len, in, in_len, out, tag)))
		return true;

	OPENSSL_cleanse(out, in_len);
	OPENSSL_cleanse(tag, DP_TAG_LEN);
	ERR_clear_error();
	return false;
}

/*
 * Nonce and tag go in by one call of parameters, the nonce as an "invocation
 * field" of its full length: EVP_DecryptInit_ex() asks the provider for the IV's
 * length each time, which costs a fifth of opening a short value.
 */
static bool
open_steps(EVP_CIPHER_CTX *ctx, const uint8_t *nonce,
		   const uint8_t *aad, size_t aad_len,
		   const uint8_t *in, size_t in_len, const uint8_t *tag, uint8_t *out)
{
	OSSL_PARAM	message[] = {
		/* always the full tag: OpenSSL would accept a shorter one */
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, (void *) tag, DP_TAG_LEN),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_SET_IV_INV, (void *) nonce, DP_NONCE_LEN),
		OSSL_PARAM_END
	};
	uint8_t		none[DP_TAG_LEN];
	int			n;
	int			rest;

	if (EVP_CIPHER_CTX_set_params(ctx, message) != 1)
		return false;
	if (aad_len > 0 && EVP_DecryptUpdate(ctx, NULL, &n, aad, (int) aad_len) != 1)
		return false;
	n = 0;
	if (in_len > 0 && EVP_DecryptUpdate(ctx, out, &n, in, (int) in_len) != 1)
		return false;

	return EVP_DecryptFinal_ex(ctx, none, &rest) == 1 &&
		(size_t) n == in_len && rest == 0;
}

bool
dp_aead_open(DpAead *aead, const uint8_t nonce[DP_NONCE_LEN],
			 const uint8_t *aad, size_t aad_len,
			 const uint8_t *in, size_t in_len,
			 const uint8_t tag[DP_TAG_LEN], uint8_t *out)
{
	if (aead->keyed && aad_len <= INT_MAX && in_len <= INT_MAX &&
		(is_short(aead, in_len) ? dp_short_gcm_open(&aead->brief, nonce, aad, aad_len, in, in_len, tag, out)
		 : is_scheduled(aead) && open_steps(aead->open, nonce, aad, aad_len, in, in_len, tag, out)))
		return true;

	/* what GCM decrypted before it saw the tag must not leave */
	OPENSSL_cleanse(out, in_len);
	ERR_clear_error();
	return false;
}

bool
dp_sha256(const uint8_t *msg, size_t msg_len, uint8_t out[32])
{
	if (EVP_Q_digest(NULL, "SHA256", NULL, msg, msg_len, out, NULL) == 1)
		return true;
	memset(out, 0, 32);
	ERR_clear_error();
	return false;
}

/* A failure is met again, and told, by whoever needs the thing. */
void
dp_crypto_warm_up(void)
{
	static const uint8_t zeros[DP_SHORT_GCM_MAX + 1] = {0};
	uint8_t		out[DP_SHORT_GCM_MAX + 1 + DP_TAG_LEN];
	DpAead	   *aead = dp_aead_new(zeros);
	DpPrf	   *prf = dp_prf_new(zeros);

	if (aead != NULL)
	{
		(void) !dp_aead_seal(aead, zeros, zeros, 1, zeros, 1, out, out + 1);
		(void) !dp_aead_seal(aead, zeros, zeros, 1, zeros, sizeof(zeros), out, out + sizeof(zeros));
	}
	if (prf != NULL)
		(void) !dp_prf(prf, 0, zeros, 1, out);
	(void) !dp_sha256(zeros, 1, out);
	dp_aead_free(aead);
	dp_prf_free(prf);
}

bool
dp_equal_ct(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
