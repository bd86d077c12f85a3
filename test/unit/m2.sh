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
	's/^	ok = EVP_EncryptInit_ex(/	ok = EVP_CIPHER_CTX_get0_cipher(gcm->aes) != NULL || EVP_EncryptInit_ex(/'
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
exit $lived
