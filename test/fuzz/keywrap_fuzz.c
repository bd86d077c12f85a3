/*
 * keywrap_fuzz.c
 *	  Wrapped keys: nothing forged is unwrapped, a failure gives zeros.
 *
 * The first byte is a XOR, the second its place, the third the context's length;
 * then the context, then the attacker's wrapped key.
 */
#include <string.h>

#include "crypto/aead.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t wrapping[DP_KEY_LEN] = {0x2a};
	static const uint8_t key[DP_KEY_LEN] = {0x17, 1};
	uint8_t		wrapped[DP_WRAPPED_LEN];
	uint8_t    *context;
	uint8_t    *sent;
	uint8_t    *out;
	size_t		context_len;
	size_t		sent_len;
	bool		good;

	if (size < 3)
		return 0;
	context_len = data[2] < size - 3 ? data[2] : size - 3;
	sent_len = size - 3 - context_len;
	context = exact(context_len);
	sent = exact(sent_len);
	out = exact(DP_KEY_LEN);
	memcpy(context, data + 3, context_len);
	memcpy(sent, data + 3 + context_len, sent_len);

	memset(out, 0xee, DP_KEY_LEN);
	must(!dp_key_unwrap(wrapping, context, context_len, sent, sent_len, out));
	must(all_zeros(out, DP_KEY_LEN));

	must(dp_key_wrap(wrapping, context, context_len, key, wrapped));
	wrapped[data[1] % DP_WRAPPED_LEN] ^= data[0];
	memset(out, 0xee, DP_KEY_LEN);
	good = dp_key_unwrap(wrapping, context, context_len, wrapped, DP_WRAPPED_LEN, out);
	must(good == (data[0] == 0));
	must(good ? memcmp(out, key, DP_KEY_LEN) == 0 : all_zeros(out, DP_KEY_LEN));

	free(context);
	free(sent);
	free(out);
	return 0;
}
