#!/bin/sh
# Break the code on purpose, one way at a time, and see the unit tests go red.
# A mutant that lives names a test that is missing; it makes the exit code 1.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lived=0
count=0

# mutant NAME FILE SED-EXPRESSION
mutant()
{
	rm -rf "$work/src"
	cp -R "$here/../../src" "$work/src"
	sed -i -e "$3" "$work/src/$2"
	count=$((count + 1))
	if cmp -s "$here/../../src/$2" "$work/src/$2"; then
		echo "not ok $count - $1: the expression changes nothing, mend it"
		lived=1
	elif CC=${CC:-gcc} DP_SRC="$work/src" DP_QUIET=1 "$here/run.sh" > "$work/out" 2>&1; then
		echo "not ok $count - $1: no test noticed"
		lived=1
	elif grep -q 'does not compile' "$work/out"; then
		echo "not ok $count - $1: does not compile, mend it"
		lived=1
	else
		echo "ok $count - $1: $(grep -c '^not ok' "$work/out") red"
	fi
}

mutant "the tag is not checked" crypto/aead.c \
	's/return EVP_DecryptFinal_ex(ctx, none, &rest) == 1 &&/none[0] = rest = 0; return none[0] == 0 \&\&/'
mutant "a short message's tag is not checked" crypto/short_gcm.c \
	's/CRYPTO_gcm128_finish(gcm->gcm, tag, DP_TAG_LEN) == 0/CRYPTO_gcm128_finish(gcm->gcm, tag, 1) == 0/'
mutant "a short message's AAD is left out" crypto/short_gcm.c \
	's/CRYPTO_gcm128_aad(gcm->gcm, aad, aad_len)/CRYPTO_gcm128_aad(gcm->gcm, aad, 0 * aad_len)/'
mutant "blocks of a short message are not counted" crypto/short_gcm.c \
	's/= (uint8_t) (i + 1);/= 1;/'
mutant "a short message's key stays" crypto/short_gcm.c \
	's/^	ok = EVP_EncryptInit_ex(/	ok = (EVP_CIPHER_CTX_get0_cipher(gcm->aes) != NULL || EVP_EncryptInit_ex(/;s/key, NULL) == 1 &&$/key, NULL) == 1) \&\&/'
mutant "long messages go on under the key before" crypto/aead.c \
	's/aead->scheduled = aead->keyed = false;/aead->keyed = false;/'
mutant "plaintext leaves although the tag is wrong" crypto/aead.c \
	'/what GCM decrypted/{n;d}'
mutant "open leaves the AAD out" crypto/aead.c \
	's/if (aad_len > 0 \&\& EVP_DecryptUpdate/if (aad_len > 999 \&\& EVP_DecryptUpdate/'
mutant "both directions leave the AAD out" crypto/aead.c \
	's/if (aad_len > 0 \&\&/if (aad_len > 999 \&\&/'
mutant "rekey forgets one direction" crypto/aead.c \
	's/EVP_DecryptInit_ex(aead->open, first, NULL, key, NULL)/(first == NULL || EVP_DecryptInit_ex(aead->open, first, NULL, key, NULL))/'
mutant "a cleared context works on under zeros" crypto/aead.c \
	's/^	aead->keyed = false;/	;/'
mutant "comparison stops one byte early" crypto/aead.c \
	's/CRYPTO_memcmp(a, b, len)/CRYPTO_memcmp(a, b, len ? len - 1 : 0)/'
mutant "the type code is not authenticated" crypto/envelope.c \
	's/put_be32(aad + len, type_code)/put_be32(aad + len, 0 * type_code)/'
mutant "the token is not authenticated" crypto/envelope.c \
	's/memcpy(aad + len, token, DP_TOKEN_LEN);/memset(aad + len, 0, DP_TOKEN_LEN);/'
mutant "the version is not looked at" crypto/envelope.c \
	's/buf\[0\] >> 4 != DP_ENV_VERSION/false/'
mutant "unknown flags are accepted" crypto/envelope.c \
	's/(flags & ~DP_ENV_FLAGS_KNOWN) != 0 || len </len </'
mutant "the token's length is not checked" crypto/envelope.c \
	's/len < dp_envelope_size(0, flags)/false/'
mutant "the least length is one too small" crypto/envelope.c \
	's/len < DP_ENV_OVERHEAD/len + 1 < DP_ENV_OVERHEAD/;s/len < dp_envelope_size(0, flags)/len + 1 < dp_envelope_size(0, flags)/'
mutant "key id 0 is accepted" crypto/envelope.c 's/if (key_id == 0)/if (false)/'
mutant "blinding does not depend on the nonce" crypto/envelope.c \
	's/env.nonce, DP_NONCE_LEN, pad/env.header, 9, pad/'
mutant "the key id does not depend on the purpose" crypto/keywrap.c \
	's/(uint8_t) purpose;/1;/'
mutant "the context is not authenticated" crypto/keywrap.c \
	's/return 1 + context_len;/return 1;/'
mutant "an unwrapped key's length is not checked" crypto/keywrap.c \
	's/wrapped_len == DP_WRAPPED_LEN && //'
mutant "the format is not checked" crypto/keywrap.c \
	's/ && wrapped\[0\] == WRAP_FORMAT//'
mutant "a failed unwrap leaves the buffer as it was" crypto/keywrap.c \
	's/OPENSSL_cleanse(out_key, DP_KEY_LEN)/(void) out_key/'
mutant "a context of any length is copied" crypto/keywrap.c \
	's/if (context_len > DP_WRAP_CONTEXT_MAX)/if (context_len > 9999)/'
mutant "the PRF ignores its domain" crypto/prf.c \
	's/EVP_MAC_update(prf->ctx, &domain, 1) == 1/EVP_MAC_update(prf->ctx, \&domain, 0) == 1/'
mutant "the PRF goes on from the last message" crypto/prf.c \
	's/EVP_MAC_init(prf->ctx, NULL, 0, NULL) == 1/prf != NULL/'
mutant "a child keeps its parent's nonces" crypto/random.c \
	's/^	nonces_left = 0;/	;/'
mutant "nonces overlap by a byte" crypto/random.c \
	's/nonces + nonces_left \* DP_NONCE_LEN/nonces + nonces_left * (DP_NONCE_LEN - 1)/'
mutant "every nonce is the first of the buffer" crypto/random.c \
	's/nonces + nonces_left \* DP_NONCE_LEN/nonces/'
mutant "nonces do not depend on the clock" crypto/random.c 's/out\[i\] ^= bytes\[i\]/(void) bytes/'
mutant "a failed generator goes unnoticed" crypto/random.c \
	's/RAND_bytes(nonces, sizeof(nonces)) != 1/RAND_bytes(nonces, sizeof(nonces)) > 1/'
mutant "a key from a failed generator" crypto/random.c 's/RAND_priv_bytes(out, (int) len) == 1/RAND_priv_bytes(out, (int) len)/'
mutant "released buffers are not wiped" base/secret.c 's/explicit_bzero(buf, header->len)/(void) buf/'
mutant "an abort wipes nothing" base/secret.c 's/while (!dlist_is_empty(&live))/while (!aborted \&\& !dlist_is_empty(\&live))/'
mutant "a subtransaction's abort wipes everything" base/secret.c 's/if (header->subid != subid)/if (false)/'
mutant "a subtransaction's commit forgets its buffers" base/secret.c 's/header->subid = parent_subid/(void) parent_subid/'
mutant "free buffers pile up" base/secret.c 's/define CLASS_KEEP			16/define CLASS_KEEP			1600/'
mutant "a buffer smaller than asked for" base/secret.c 's/len > ((Size) CLASS_MIN_SIZE/len > 1 + ((Size) CLASS_MIN_SIZE/'
mutant "a path may climb by .." kms/uri.c "s/component\\[1\\] == '.')/component[1] == '!')/"
mutant "an empty component is accepted" kms/uri.c 's/if (len == 0 ||$/if (len > 999 ||/'
mutant "a query may contradict the ARN" kms/uri.c 's/if (region_len > 0 \&\& (strlen/if (region_len > 999 \&\& (strlen/'
mutant "a region may hold anything" kms/uri.c 's/DP_KMS_REGION_MAX - 1, "-")/DP_KMS_REGION_MAX - 1, "-.:\/@")/'
mutant "a pattern matches any longer URI" kms/uri.c 's/if (len == uri_len \&\& memcmp/if (len <= uri_len \&\& memcmp/'
mutant "a star in the middle counts" kms/uri.c 's/else if (star == start + len - 1 \&\&/else if (len = star - start + 1,/'
mutant "plain http goes anywhere" kms/uri.c 's/return tls || \*out_loopback;/return true;/'
mutant "a name that begins with 127. is loopback" kms/uri.c 's/else if (!is_digit(host\[i\]))/else if (false)/'
mutant "a member may come twice" kms/reply.c 's/ELEMENT) != NULL/ELEMENT) == NULL/'
mutant "nesting has no limit" kms/reply.c 's/depth > DP_KMS_REPLY_DEPTH/depth > 1000/'
mutant "a member may be of any type" kms/reply.c 's/^\t\t\treturn false;$/\t\t\treturn true;/'
mutant "a member of an inner object is taken" kms/reply.c 's/member->matched < depth - 1/false/'
mutant "any value is a reply" kms/reply.c 's/JSON_SUCCESS \&\& reader.is_object/JSON_SUCCESS/'
mutant "errors of the parser are ignored" kms/reply.c 's/pg_parse_json(reader.lex, \&actions) == JSON_SUCCESS/pg_parse_json(reader.lex, \&actions) >= 0/'

echo "1..$count"
exit $lived
