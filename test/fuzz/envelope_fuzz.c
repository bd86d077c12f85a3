/*
 * envelope_fuzz.c
 *	  Envelopes: nothing forged is opened, nothing outside the buffer is read.
 *
 * The first byte of the input chooses: the rest is an envelope as an attacker
 * sends it, or the recipe of an honest one and of a change to it.
 */
#include <string.h>

#include "crypto/envelope.h"
#include "fuzz.h"

#define TYPE_CODE 25

static DpAead *aead;
static DpPrf *prf;

static void
set_up(void)
{
	static const uint8_t key[DP_KEY_LEN] = {0x2a};

	if (aead == NULL)
	{
		aead = dp_aead_new(key);
		prf = dp_prf_new(key);
		must(aead != NULL && prf != NULL);
	}
}

/* Parse and open; true where it opens.  Checks what must hold either way. */
static bool
try_open(const uint8_t *buf, size_t len, uint32_t type_code)
{
	DpEnvelope	env;
	uint8_t    *out;
	bool		opened;

	if (!dp_envelope_parse(buf, len, &env))
		return false;
	must(env.header == buf && env.nonce == buf + DP_ENV_HEADER_LEN);
	must(env.token == NULL || env.token == env.nonce + DP_NONCE_LEN);
	must(env.tag == env.ciphertext + env.ciphertext_len && env.tag + DP_TAG_LEN == buf + len);
	must(env.key_id != 0 && dp_envelope_flags_ok(env.flags));
	must(dp_envelope_size(env.ciphertext_len, env.flags) == len);
	must(env.ciphertext == env.nonce + DP_NONCE_LEN + (env.token != NULL ? DP_TOKEN_LEN : 0));

	out = exact(env.ciphertext_len);
	memset(out, 0xee, env.ciphertext_len);
	opened = dp_envelope_open(aead, &env, type_code, out);
	must(opened || all_zeros(out, env.ciphertext_len));
	if (opened && (env.flags & DP_ENV_PADDED) != 0)
	{
		size_t		len_inside;

		must(!dp_envelope_unpad(out, env.ciphertext_len, &len_inside) || len_inside < env.ciphertext_len);
	}
	free(out);
	return opened;
}

static void
attack(const uint8_t *data, size_t size)
{
	uint8_t    *copy = exact(size);

	memcpy(copy, data, size);
	must(!try_open(copy, size, TYPE_CODE));
	if (dp_envelope_blind(prf, copy, size))
	{
		must(dp_envelope_blind(prf, copy, size));
	}
	must(memcmp(copy, data, size) == 0);
	free(copy);
}

/* data: flags, position (2 bytes), XOR, cut, plaintext */
static void
forge(const uint8_t *data, size_t size)
{
	static const uint8_t token[DP_TOKEN_LEN] = {7};
	uint8_t		flags;
	size_t		len;
	size_t		cut;
	uint8_t    *envelope;
	uint8_t    *shorter;

	if (size < 5)
		return;
	flags = data[0] & DP_ENV_FLAGS_KNOWN;
	if (!dp_envelope_flags_ok(flags))
		flags &= ~DP_ENV_COMPRESSED;
	len = dp_envelope_size(size - 5, flags);
	envelope = exact(len);
	must(dp_envelope_seal(aead, 99, flags, TYPE_CODE, (flags & DP_ENV_TOKEN) ? token : NULL,
						  data + 5, size - 5, envelope));
	must(try_open(envelope, len, TYPE_CODE));
	must(!try_open(envelope, len, TYPE_CODE + 1));

	if (data[4] > 0)
	{
		cut = data[4] < len ? data[4] : len;
		shorter = exact(len - cut);
		memcpy(shorter, envelope, len - cut);
		must(!try_open(shorter, len - cut, TYPE_CODE));
		free(shorter);
	}
	envelope[(data[1] | (size_t) data[2] << 8) % len] ^= data[3];
	must(try_open(envelope, len, TYPE_CODE) == (data[3] == 0));
	free(envelope);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	set_up();
	if (size == 0)
		return 0;
	if (data[0] & 1)
		attack(data + 1, size - 1);
	else
		forge(data + 1, size - 1);
	return 0;
}
