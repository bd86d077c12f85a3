/*
 * public_key.c
 *	  Public keys and signatures; see the header.
 */
#include "crypto/public_key.h"

#include <limits.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

/* DER: tags, and where a length no longer stands in one byte. */
#define TAG_INTEGER			0x02
#define TAG_BIT_STRING		0x03
#define TAG_OCTET_STRING	0x04
#define TAG_SEQUENCE		0x30
#define SHORT_LENGTH		0x80

#define RSA_MIN_BITS 2048

static const struct
{
	DpSignatureAlgorithm algorithm;
	const char *name;
	const char *openssl;
	const char *hash;
}			algorithms[] =

{
	{DP_SIGNATURE_ED25519, "Ed25519", "", NULL},
	{DP_SIGNATURE_RSA_PSS_SHA256, "RSA-PSS-SHA256", "-digest sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:auto", "SHA256"},
	{DP_SIGNATURE_ECDSA_SHA256, "ECDSA-SHA256", "-digest sha256", "SHA256"},
	{DP_SIGNATURE_ECDSA_SHA384, "ECDSA-SHA384", "-digest sha384", "SHA384"},
	{DP_SIGNATURE_ECDSA_SHA512, "ECDSA-SHA512", "-digest sha512", "SHA512"},
};

#define N_ALGORITHMS (sizeof(algorithms) / sizeof(algorithms[0]))

static int
place_of(DpSignatureAlgorithm algorithm)
{
	for (size_t i = 0; i < N_ALGORITHMS; i++)
	{
		if (algorithms[i].algorithm == algorithm)
			return (int) i;
	}
	return -1;
}

const char *
dp_signature_name(DpSignatureAlgorithm algorithm)
{
	int			place = place_of(algorithm);

	return place < 0 ? "none" : algorithms[place].name;
}

const char *
dp_signature_openssl(DpSignatureAlgorithm algorithm)
{
	int			place = place_of(algorithm);

	return place < 0 ? "" : algorithms[place].openssl;
}

static DpSignatureAlgorithm
algorithm_of(EVP_PKEY *key)
{
	switch (EVP_PKEY_get_base_id(key))
	{
		case EVP_PKEY_ED25519:
			return DP_SIGNATURE_ED25519;
		case EVP_PKEY_RSA:
			return EVP_PKEY_get_bits(key) >= RSA_MIN_BITS ? DP_SIGNATURE_RSA_PSS_SHA256 : DP_SIGNATURE_NONE;
		case EVP_PKEY_EC:
			{
				char		curve[32] = "";
				size_t		len;

				if (EVP_PKEY_get_group_name(key, curve, sizeof(curve), &len) != 1)
					return DP_SIGNATURE_NONE;
				if (strcmp(curve, SN_X9_62_prime256v1) == 0)
					return DP_SIGNATURE_ECDSA_SHA256;
				if (strcmp(curve, SN_secp384r1) == 0)
					return DP_SIGNATURE_ECDSA_SHA384;
				return strcmp(curve, SN_secp521r1) == 0 ? DP_SIGNATURE_ECDSA_SHA512 : DP_SIGNATURE_NONE;
			}
		default:
			return DP_SIGNATURE_NONE;
	}
}

/* The whole of the bytes as one key; NULL where they are none. */
static EVP_PKEY *
read_key(const uint8_t *key, size_t key_len)
{
	const uint8_t *end = key;
	EVP_PKEY   *result = key_len > LONG_MAX ? NULL : d2i_PUBKEY(NULL, &end, (long) key_len);

	if (result != NULL && end != key + key_len)
	{
		EVP_PKEY_free(result);
		result = NULL;
	}
	ERR_clear_error();
	return result;
}

DpSignatureAlgorithm
dp_public_key_algorithm(const uint8_t *key, size_t key_len)
{
	EVP_PKEY   *read = read_key(key, key_len);
	DpSignatureAlgorithm algorithm = read == NULL ? DP_SIGNATURE_NONE : algorithm_of(read);

	EVP_PKEY_free(read);
	ERR_clear_error();
	return algorithm;
}

bool
dp_signature_verify(const uint8_t *key, size_t key_len, const uint8_t *msg, size_t msg_len,
					const uint8_t *signature, size_t signature_len)
{
	EVP_PKEY   *read = read_key(key, key_len);
	int			place = read == NULL ? -1 : place_of(algorithm_of(read));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *options = NULL;
	bool		ok = place >= 0 && ctx != NULL &&
		EVP_DigestVerifyInit_ex(ctx, &options, algorithms[place].hash, NULL, NULL, read, NULL) == 1;

	if (ok && algorithms[place].algorithm == DP_SIGNATURE_RSA_PSS_SHA256)
		ok = EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1 &&
			EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_AUTO) == 1;
	ok = ok && EVP_DigestVerify(ctx, signature, signature_len, msg, msg_len) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(read);
	ERR_clear_error();
	return ok;
}

bool
dp_signature_hash(DpSignatureAlgorithm algorithm, const uint8_t *msg, size_t msg_len,
				  uint8_t out[DP_HASH_MAX], size_t *out_len)
{
	int			place = place_of(algorithm);
	bool		ok = place >= 0 && algorithms[place].hash != NULL &&
		EVP_Q_digest(NULL, algorithms[place].hash, NULL, msg, msg_len, out, out_len) == 1;

	ERR_clear_error();
	return ok;
}

/* ---- from parts ---- */

/* Bytes that grow from the end to the front: what is inside is there before its length is needed. */
typedef struct Der
{
	uint8_t    *start;
	uint8_t    *at;
	bool		ok;
} Der;

static void
put_bytes(Der *der, const uint8_t *bytes, size_t len)
{
	der->ok = der->ok && (size_t) (der->at - der->start) >= len;
	if (der->ok)
	{
		der->at -= len;
		memcpy(der->at, bytes, len);
	}
}

/* Length and tag of what was put since end. */
static void
put_head(Der *der, uint8_t tag, const uint8_t *end)
{
	size_t		len = (size_t) (end - der->at);
	uint8_t		head[4];
	size_t		n = 0;

	head[n++] = tag;
	if (len < SHORT_LENGTH)
		head[n++] = (uint8_t) len;
	else
	{
		if (len > 0xff)
		{
			head[n++] = SHORT_LENGTH + 2;
			head[n++] = (uint8_t) (len >> 8);
		}
		else
			head[n++] = SHORT_LENGTH + 1;
		head[n++] = (uint8_t) len;
	}
	der->ok = der->ok && len <= 0xffff;
	put_bytes(der, head, n);
}

/* A positive number, big endian. */
static void
put_number(Der *der, const uint8_t *bytes, size_t len)
{
	static const uint8_t zero = 0;
	const uint8_t *end = der->at;

	while (len > 1 && bytes[0] == 0)
	{
		bytes++;
		len--;
	}
	put_bytes(der, bytes, len);
	if (len == 0 || (bytes[0] & 0x80) != 0)
		put_bytes(der, &zero, 1);
	put_head(der, TAG_INTEGER, end);
}

/* SubjectPublicKeyInfo around what was put since end: unused bits, and the kind of key. */
static bool
finish_key(Der *der, const uint8_t *end, const uint8_t *kind, size_t kind_len, uint8_t *out, size_t *out_len)
{
	static const uint8_t no_unused_bits = 0;
	size_t		len;

	put_bytes(der, &no_unused_bits, 1);
	put_head(der, TAG_BIT_STRING, end);
	put_bytes(der, kind, kind_len);
	put_head(der, TAG_SEQUENCE, end);
	len = (size_t) (end - der->at);
	if (!der->ok || len > *out_len)
		return false;
	memcpy(out, der->at, len);
	*out_len = len;
	return true;
}

bool
dp_public_key_ed25519(const uint8_t point[DP_ED25519_PUBLIC_LEN], uint8_t *out, size_t *out_len)
{
	static const uint8_t kind[] = {TAG_SEQUENCE, 5, 0x06, 3, 0x2b, 0x65, 0x70};
	uint8_t		room[128];
	Der			der = {room, room + sizeof(room), true};

	put_bytes(&der, point, DP_ED25519_PUBLIC_LEN);
	return finish_key(&der, room + sizeof(room), kind, sizeof(kind), out, out_len);
}

bool
dp_public_key_rsa(const uint8_t *modulus, size_t modulus_len, const uint8_t *exponent, size_t exponent_len,
				  uint8_t *out, size_t *out_len)
{
	static const uint8_t kind[] = {TAG_SEQUENCE, 13, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0};
	uint8_t		room[2048];
	Der			der = {room, room + sizeof(room), true};

	put_number(&der, exponent, exponent_len);
	put_number(&der, modulus, modulus_len);
	put_head(&der, TAG_SEQUENCE, room + sizeof(room));
	return finish_key(&der, room + sizeof(room), kind, sizeof(kind), out, out_len);
}

bool
dp_public_key_ec(const uint8_t *params, size_t params_len, const uint8_t *point, size_t point_len,
				 uint8_t *out, size_t *out_len)
{
	static const uint8_t ec[] = {0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
	uint8_t		kind_room[64];
	Der			kind = {kind_room, kind_room + sizeof(kind_room), true};
	uint8_t		room[512];
	Der			der = {room, room + sizeof(room), true};
	size_t		head = point_len > 2 && point[1] == SHORT_LENGTH + 1 ? 3 : 2;

	if (point_len > head && point[0] == TAG_OCTET_STRING && point[head - 1] == point_len - head)
	{
		point += head;
		point_len -= head;
	}
	put_bytes(&kind, params, params_len);
	put_bytes(&kind, ec, sizeof(ec));
	put_head(&kind, TAG_SEQUENCE, kind_room + sizeof(kind_room));
	put_bytes(&der, point, point_len);
	return kind.ok && finish_key(&der, room + sizeof(room), kind.at, (size_t) (kind_room + sizeof(kind_room) - kind.at), out, out_len);
}

bool
dp_ecdsa_der(const uint8_t *raw, size_t raw_len, uint8_t *out, size_t *out_len)
{
	uint8_t		room[256];
	Der			der = {room, room + sizeof(room), true};
	size_t		len;

	if (raw_len == 0 || raw_len % 2 != 0)
		return false;
	put_number(&der, raw + raw_len / 2, raw_len / 2);
	put_number(&der, raw, raw_len / 2);
	put_head(&der, TAG_SEQUENCE, room + sizeof(room));
	len = (size_t) (room + sizeof(room) - der.at);
	if (!der.ok || len > *out_len)
		return false;
	memcpy(out, der.at, len);
	*out_len = len;
	return true;
}
