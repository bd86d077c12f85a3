/*
 * envelope_test.c
 *	  The stored form of a value: layout, round trip, and every way to forge it.
 */
#include <stdlib.h>

#include "crypto/envelope.h"
#include "tap.h"

#define KEY_ID		UINT64_C(0x8123456789abcdef)
#define TYPE_CODE	UINT32_C(0x01020304)
#define MAX_LEN		300

static const uint8_t key[DP_KEY_LEN] = "an ordinary key of thirty-two b";
static const uint8_t other_key[DP_KEY_LEN] = "another key, of thirty-two byte";
static const uint8_t token[DP_TOKEN_LEN] = "sixteen byte tok";
static DpAead *aead;
static DpAead *other;
static DpPrf *prf;

/* Parse and open an exact heap copy, so that a sanitizer sees one byte too many. */
static bool
open_copy(DpAead *with, const uint8_t *buf, size_t len, uint32_t type_code,
		  uint8_t *out, size_t *out_len)
{
	uint8_t    *copy = malloc(len > 0 ? len : 1);
	DpEnvelope	env;
	bool		ok;

	if (copy == NULL)
		abort();
	memcpy(copy, buf, len);
	*out_len = 0;
	ok = dp_envelope_parse(copy, len, &env);
	if (ok)
	{
		*out_len = env.ciphertext_len;
		memset(out, 0xee, MAX_LEN);
		ok = dp_envelope_open(with, &env, type_code, out);
	}
	free(copy);
	return ok;
}

static size_t
seal(uint8_t flags, const uint8_t *plaintext, size_t len, uint8_t *out)
{
	if (!dp_envelope_seal(aead, KEY_ID, flags, TYPE_CODE,
						  (flags & DP_ENV_TOKEN) ? token : NULL, plaintext, len, out))
		abort();
	return dp_envelope_size(len, flags);
}

/* Offsets are written out: data on disk must stay readable for ever. */
static void
check_layout(void)
{
	static const uint8_t header[] = {0x11, 0x81, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
	static const uint8_t type_code[] = {1, 2, 3, 4};
	uint8_t		env[MAX_LEN];
	uint8_t		aad[29];
	uint8_t		out[5];
	size_t		len = seal(DP_ENV_TOKEN, (const uint8_t *) "hello", 5, env);

	tap_ok(len == 58 && dp_envelope_size(5, 0) == 42,
		   "37 bytes over the plaintext, 53 with a token");
	tap_ok(memcmp(env, header, 9) == 0 && memcmp(env + 21, token, 16) == 0,
		   "header and token are at their offsets");
	memcpy(aad, env, 9);
	memcpy(aad + 9, env + 21, 16);
	memcpy(aad + 25, type_code, 4);
	tap_ok(dp_aead_open(aead, env + 9, aad, 29, env + 37, 5, env + 42, out) &&
		   memcmp(out, "hello", 5) == 0,
		   "bare AES-256-GCM opens it: nonce at 9, ciphertext at 37, tag behind it");
}

static void
check_round_trip(void)
{
	uint8_t		plaintext[MAX_LEN];
	uint8_t		buf[MAX_LEN + 64];
	uint8_t		again[MAX_LEN + 64];
	uint8_t		out[MAX_LEN];
	size_t		lens[] = {0, 1, 15, 16, 17, 64, 255, MAX_LEN};
	uint8_t		flags;
	size_t		i;
	size_t		out_len;

	for (i = 0; i < MAX_LEN; i++)
		plaintext[i] = (uint8_t) (i * 7);
	for (flags = 0; flags <= DP_ENV_FLAGS_KNOWN; flags++)
	{
		bool		good = true;
		bool		differ = true;

		if (!dp_envelope_flags_ok(flags))
			continue;
		for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		{
			size_t		len = seal(flags, plaintext, lens[i], buf);
			DpEnvelope	env;

			good = good && dp_envelope_parse(buf, len, &env) && env.flags == flags &&
				env.key_id == KEY_ID && env.ciphertext_len == lens[i] &&
				(env.token != NULL) == ((flags & DP_ENV_TOKEN) != 0) &&
				open_copy(aead, buf, len, TYPE_CODE, out, &out_len) &&
				memcmp(out, plaintext, lens[i]) == 0;
			seal(flags, plaintext, lens[i], again);
			differ = differ && memcmp(buf, again, len) != 0;
		}
		tap_ok(good, "what was sealed opens, flags %d", flags);
		tap_ok(differ, "sealing twice never gives the same bytes, flags %d", flags);
	}
}

static void
check_tampering(uint8_t flags)
{
	const uint8_t *plaintext = (const uint8_t *) "4111 1111 1111 1111";
	size_t		plaintext_len = 19;
	uint8_t		buf[MAX_LEN];
	uint8_t		longer[MAX_LEN];
	uint8_t		out[MAX_LEN];
	size_t		len = seal(flags, plaintext, plaintext_len, buf);
	size_t		i;
	size_t		out_len;
	int			bit;

	for (i = 0; i < len; i++)
	{
		bool		good = true;

		for (bit = 0; bit < 8; bit++)
		{
			buf[i] ^= (uint8_t) (1 << bit);
			if (open_copy(aead, buf, len, TYPE_CODE, out, &out_len) ||
				!all_zeros(out, out_len))
				good = false;
			buf[i] ^= (uint8_t) (1 << bit);
		}
		tap_ok(good, "flags %d: no bit of byte %zu can be changed", flags, i);
	}

	for (i = 0; i < len; i++)
		tap_ok(!open_copy(aead, buf, i, TYPE_CODE, out, &out_len) && all_zeros(out, out_len),
			   "flags %d: cut off after %zu bytes it does not open", flags, i);

	memcpy(longer, buf, len);
	longer[len] = 0;
	tap_ok(!open_copy(aead, longer, len + 1, TYPE_CODE, out, &out_len) &&
		   all_zeros(out, out_len), "flags %d: a byte more is noticed", flags);

	for (bit = 0; bit < 32; bit++)
		if (open_copy(aead, buf, len, TYPE_CODE ^ (UINT32_C(1) << bit), out, &out_len) ||
			!all_zeros(out, out_len))
			break;
	tap_ok(bit == 32, "flags %d: it does not open as another type", flags);
	tap_ok(!open_copy(other, buf, len, TYPE_CODE, out, &out_len) && all_zeros(out, out_len),
		   "flags %d: it does not open under another key", flags);
	tap_ok(open_copy(aead, buf, len, TYPE_CODE, out, &out_len) &&
		   memcmp(out, plaintext, plaintext_len) == 0,
		   "flags %d: the untouched one still opens", flags);
}

/* A token cut out, or put in, must not give another well-formed meaning. */
static void
check_token_confusion(void)
{
	uint8_t		buf[MAX_LEN];
	uint8_t		out[MAX_LEN];
	size_t		out_len;
	size_t		len = seal(DP_ENV_TOKEN, (const uint8_t *) "abcdefghijklmnopqrst", 20, buf);

	memmove(buf + 21, buf + 37, len - 37);
	buf[0] &= (uint8_t) ~DP_ENV_TOKEN;
	tap_ok(!open_copy(aead, buf, len - 16, TYPE_CODE, out, &out_len) &&
		   all_zeros(out, out_len), "a token cannot be taken off");

	len = seal(0, (const uint8_t *) "abcdefghijklmnopqrst", 20, buf);
	memmove(buf + 37, buf + 21, len - 21);
	memcpy(buf + 21, token, 16);
	buf[0] |= DP_ENV_TOKEN;
	tap_ok(!open_copy(aead, buf, len + 16, TYPE_CODE, out, &out_len) &&
		   all_zeros(out, out_len), "a token cannot be put in");
}

static void
check_refusals(void)
{
	uint8_t		buf[MAX_LEN];
	uint8_t		copy[MAX_LEN];
	DpEnvelope	env;
	int			first;
	int			parsed = 0;
	size_t		len = seal(DP_ENV_TOKEN, (const uint8_t *) "x", 1, buf);

	for (first = 0; first < 256; first++)
	{
		memcpy(copy, buf, len);
		copy[0] = (uint8_t) first;
		if (dp_envelope_parse(copy, len, &env))
			parsed |= first < 0x10 || first > 0x1f ? 1 << 16 : 1 << (first & 15);
	}
	tap_ok(parsed == 0x133ff,
		   "of 256 first bytes only 0x10 to 0x1f are well formed, but for those both compressed and padded");
	for (first = 0x20; first < 0x100; first++)
	{
		memcpy(copy, buf, len);
		copy[0] = (uint8_t) first;
		if (dp_envelope_parse(copy, len, &env) != (first < 0x30 && (first & 1) != 0 && (first & 0x0a) != 0x0a))
			parsed = 0;
	}
	tap_ok(parsed == 0x133ff, "and 0x20 to 0x2f with a token, which is blinded");

	memset(buf + 1, 0, 8);
	tap_ok(!dp_envelope_parse(buf, len, &env), "key id 0 is not well formed");
	tap_ok(!dp_envelope_seal(aead, 0, 0, TYPE_CODE, NULL, NULL, 0, buf),
		   "key id 0 seals nothing");
	tap_ok(!dp_envelope_seal(aead, KEY_ID, DP_ENV_COMPRESSED | DP_ENV_PADDED, TYPE_CODE, NULL, NULL, 0, buf) &&
		   !dp_envelope_seal(aead, KEY_ID, 0x10, TYPE_CODE, NULL, NULL, 0, buf),
		   "an unknown flag seals nothing");
	tap_ok(!dp_envelope_seal(aead, KEY_ID, 0, TYPE_CODE, token, NULL, 0, buf) &&
		   !dp_envelope_seal(aead, KEY_ID, DP_ENV_TOKEN, TYPE_CODE, NULL, NULL, 0, buf),
		   "token and flag come together");
}

static void
check_blind(void)
{
	uint8_t		buf[MAX_LEN];
	uint8_t		sealed[MAX_LEN];
	uint8_t		twin[MAX_LEN];
	uint8_t		out[MAX_LEN];
	uint8_t		settled_token[DP_TOKEN_LEN];
	DpEnvelope	env;
	DpEnvelope	settled;
	size_t		out_len;
	size_t		len = seal(DP_ENV_TOKEN, (const uint8_t *) "hello", 5, sealed);

	memcpy(buf, sealed, len);
	tap_ok(dp_envelope_blind(prf, buf, len) && memcmp(buf + 21, sealed + 21, 16) != 0 &&
		   memcmp(buf, sealed, 21) == 0 && memcmp(buf + 37, sealed + 37, len - 37) == 0,
		   "blinding changes the token and nothing else");
	tap_ok(!open_copy(aead, buf, len, TYPE_CODE, out, &out_len) && all_zeros(out, out_len),
		   "a blinded envelope does not open");
	seal(DP_ENV_TOKEN, (const uint8_t *) "hello", 5, twin);
	tap_ok(dp_envelope_blind(prf, twin, len) && memcmp(twin + 21, buf + 21, 16) != 0,
		   "equal tokens look different once blinded");
	tap_ok(dp_envelope_blind(prf, buf, len) && memcmp(buf, sealed, len) == 0,
		   "blinding twice gives the envelope back");

	dp_envelope_mark_blinded(twin);
	tap_ok(dp_envelope_parse(twin, len, &env) && env.blinded && !dp_envelope_open(aead, &env, TYPE_CODE, out) &&
		   !dp_envelope_blind(prf, twin, len), "marked as such it neither opens nor changes");
	tap_ok(dp_envelope_settle(prf, &env, settled_token, &settled) && memcmp(settled_token, sealed + 21, 16) == 0 &&
		   dp_envelope_open(aead, &settled, TYPE_CODE, out) && memcmp(out, "hello", 5) == 0,
		   "settled it opens, and has the token that it had");

	len = seal(0, (const uint8_t *) "hello", 5, sealed);
	memcpy(buf, sealed, len);
	tap_ok(dp_envelope_blind(prf, buf, len) && memcmp(buf, sealed, len) == 0,
		   "without a token blinding does nothing");
	tap_ok(!dp_envelope_blind(prf, buf, DP_ENV_OVERHEAD - 1), "blinding refuses what is no envelope");
}

/* Every length and every way to spoil the padding. */
static void
check_padding(void)
{
	uint8_t		buf[256];
	bool		good = true;
	bool		refused = true;
	size_t		len;
	size_t		again;

	for (len = 0; len < 200; len++)
	{
		size_t		padded = dp_envelope_padded_len(len);

		memset(buf, 0x80, sizeof(buf)); /* a plaintext that looks like padding */
		dp_envelope_pad(buf, len, dp_envelope_padded_len(len));
		good = good && padded >= DP_ENV_PAD_MIN && (padded & (padded - 1)) == 0 && padded > len &&
			(padded == DP_ENV_PAD_MIN || padded / 2 <= len) &&
			dp_envelope_unpad(buf, padded, &again) && again == len;
		buf[padded - 1] ^= 1;
		refused = refused && !dp_envelope_unpad(buf, padded, &again);
		memset(buf, 0, padded);
		refused = refused && !dp_envelope_unpad(buf, padded, &again);
		buf[0] = 0x80;
		refused = refused && dp_envelope_unpad(buf, padded, &again) && again == 0 && !dp_envelope_unpad(buf, padded - 1, &again);
		/* as what is longer is */
		memset(buf, 0x80, sizeof(buf));
		dp_envelope_pad(buf, len, sizeof(buf));
		good = good && dp_envelope_unpad(buf, sizeof(buf), &again) && again == len;
	}
	tap_ok(good, "padding goes to the next power of two and comes off again");
	tap_ok(refused && !dp_envelope_unpad(buf, 0, &again), "what is not padded that way is refused");
	buf[0] = 0x1a;				/* version 1, compressed and padded */
	memset(buf + 1, 1, 63);
	{
		DpEnvelope	env;

		tap_ok(!dp_envelope_parse(buf, 64, &env), "an envelope both compressed and padded is none");
	}
}

int
main(void)
{
	aead = dp_aead_new(key);
	other = dp_aead_new(other_key);
	prf = dp_prf_new(key);
	if (aead == NULL || other == NULL || prf == NULL)
		abort();

	check_layout();
	check_round_trip();
	check_padding();
	check_tampering(0);
	check_tampering(DP_ENV_TOKEN | DP_ENV_COMPRESSED);
	check_token_confusion();
	check_refusals();
	check_blind();

	dp_aead_free(aead);
	dp_aead_free(other);
	dp_prf_free(prf);
	return tap_done();
}
