/*
 * vectors_test.c
 *	  Published answers: AES-256-GCM, HMAC-SHA-256, SHA-256.
 */
#include "crypto/aead.h"
#include "tap.h"

#include <openssl/evp.h>

#define MAX_LEN 128

typedef struct GcmVector
{
	const char *source;
	const char *key;
	const char *nonce;
	const char *aad;
	const char *plaintext;
	const char *ciphertext;
	const char *tag;
} GcmVector;

/*
 * "GCM spec": McGrew and Viega, The Galois/Counter Mode of Operation, appendix
 * B, the cases with a 256-bit key and a 96-bit IV.
 * "CAVP": NIST Cryptographic Algorithm Validation Program, GCM test vectors,
 * file gcmEncryptExtIV256.rsp, IVlen 96, Taglen 128, lengths in bits.
 */
static const GcmVector gcm_vectors[] = {
	{
		"GCM spec, test case 13",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"000000000000000000000000", "", "", "",
		"530f8afbc74536b9a963b4f1c4cb738b"
	},
	{
		"GCM spec, test case 14",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"000000000000000000000000", "",
		"00000000000000000000000000000000",
		"cea7403d4d606b6e074ec5d3baf39d18",
		"d0d1c8a799996bf0265b98b5d48ab919"
	},
	{
		"GCM spec, test case 15",
		"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
		"cafebabefacedbaddecaf888", "",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
		"b094dac5d93471bdec1a502270e3cc6c"
	},
	{
		"GCM spec, test case 16",
		"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
		"cafebabefacedbaddecaf888",
		"feedfacedeadbeeffeedfacedeadbeefabaddad2",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
		"76fc6ece0f4e1768cddf8853bb2d551b"
	},
	{
		"CAVP, PTlen 0, AADlen 0, Count 0",
		"b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4",
		"516c33929df5a3284ff463d7", "", "", "",
		"bdc1ac884d332457a1d2664f168c76f0"
	},
	{
		"CAVP, PTlen 0, AADlen 128, Count 0",
		"78dc4e0aaf52d935c3c01eea57428f00ca1fd475f5da86a49c8dd73d68c8e223",
		"d79cf22d504cc793c3fb6c8a",
		"b96baa8c1c75a671bfb2d08d06be5f36", "", "",
		"3e5d486aa2e30b22e040b85723a06e76"
	},
	{
		"CAVP, PTlen 128, AADlen 0, Count 0",
		"31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22",
		"0d18e06c7c725ac9e362e1ce", "",
		"2db5168e932556f8089a0622981d017d",
		"fa4362189661d163fcd6a56d8bf0405a",
		"d636ac1bbedd5cc3ee727dc2ab4a9489"
	},
	{
		"CAVP, PTlen 128, AADlen 128, Count 0",
		"92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b",
		"ac93a1a6145299bde902f21a",
		"1e0889016f67601c8ebea4943bc23ad6",
		"2d71bcfa914e4ac045b2aa60955fad24",
		"8995ae2e6df3dbf96fac7b7137bae67f",
		"eca5aa77d51d4a0a14d9c51e1da474ab"
	},
	{
		"CAVP, PTlen 128, AADlen 160, Count 0",
		"83688deb4af8007f9b713b47cfa6c73e35ea7a3aa4ecdb414dded03bf7a0fd3a",
		"0b459724904e010a46901cf3",
		"794a14ccd178c8ebfd1379dc704c5e208f9d8424",
		"33d893a2114ce06fc15d55e454cf90c3",
		"cc66bee423e3fcd4c0865715e9586696",
		"0fb291bd3dba94a1dfd8b286cfb97ac5"
	},
	{
		"CAVP, PTlen 104, AADlen 160, Count 1",
		"97431e565e8370a4879de962746a2fd67eca868b1c8e51eece2c1f94f74af407",
		"17fb63066e2726d282ecc610",
		"78e7374da7c77be5938de8dd76cf0308618306a9",
		"e21629cc973fbe40176e621d9d",
		"80dbd469de480389ba6c2fca52",
		"4e284abb8b4f9f13c7497ae56df05fa5"
	}
};

static void
check_gcm(const GcmVector *v)
{
	uint8_t		key[DP_KEY_LEN];
	uint8_t		nonce[DP_NONCE_LEN];
	uint8_t		aad[MAX_LEN];
	uint8_t		plaintext[MAX_LEN];
	uint8_t		ciphertext[MAX_LEN];
	uint8_t		tag[DP_TAG_LEN];
	uint8_t		out[MAX_LEN];
	uint8_t		out_tag[DP_TAG_LEN];
	size_t		aad_len = from_hex(v->aad, aad, sizeof(aad));
	size_t		len = from_hex(v->plaintext, plaintext, sizeof(plaintext));
	DpAead	   *aead;
	int			i;

	from_hex(v->key, key, sizeof(key));
	from_hex(v->nonce, nonce, sizeof(nonce));
	from_hex(v->ciphertext, ciphertext, sizeof(ciphertext));
	from_hex(v->tag, tag, sizeof(tag));
	aead = dp_aead_new(key);
	tap_ok(aead != NULL, "%s: a context can be had", v->source);
	if (aead == NULL)
		return;

	/* twice: a used context gives the same answer as a new one */
	for (i = 0; i < 2; i++)
	{
		tap_ok(dp_aead_seal(aead, nonce, aad, aad_len, plaintext, len, out, out_tag) &&
			   memcmp(out, ciphertext, len) == 0 && memcmp(out_tag, tag, DP_TAG_LEN) == 0,
			   "%s: sealing gives the published bytes", v->source);
		tap_ok(dp_aead_open(aead, nonce, aad, aad_len, ciphertext, len, tag, out) &&
			   memcmp(out, plaintext, len) == 0,
			   "%s: the published bytes open", v->source);
	}

	memcpy(out, plaintext, len);
	tap_ok(dp_aead_seal(aead, nonce, aad, aad_len, out, len, out, out_tag) &&
		   memcmp(out, ciphertext, len) == 0 &&
		   dp_aead_open(aead, nonce, aad, aad_len, out, len, out_tag, out) &&
		   memcmp(out, plaintext, len) == 0,
		   "%s: in place", v->source);

	tag[DP_TAG_LEN - 1] ^= 1;
	memset(out, 0xee, sizeof(out));
	tap_ok(!dp_aead_open(aead, nonce, aad, aad_len, ciphertext, len, tag, out) &&
		   all_zeros(out, len) && (len == MAX_LEN || out[len] == 0xee),
		   "%s: a wrong tag gives zeros, and nothing behind them", v->source);
	tag[DP_TAG_LEN - 1] ^= 1;
	tap_ok(dp_aead_open(aead, nonce, aad, aad_len, ciphertext, len, tag, out) &&
		   memcmp(out, plaintext, len) == 0,
		   "%s: the context works after a failure", v->source);
	dp_aead_free(aead);
}

/* The key of one vector must be gone after rekey to that of another. */
static void
check_rekey(const GcmVector *from, const GcmVector *to)
{
	uint8_t		key[DP_KEY_LEN];
	uint8_t		nonce[DP_NONCE_LEN];
	uint8_t		tag[DP_TAG_LEN];
	uint8_t		out_tag[DP_TAG_LEN];
	uint8_t		aad[MAX_LEN];
	uint8_t		in[MAX_LEN];
	uint8_t		out[MAX_LEN];
	size_t		aad_len = from_hex(to->aad, aad, sizeof(aad));
	size_t		len = from_hex(to->plaintext, in, sizeof(in));
	DpAead	   *aead;

	from_hex(from->key, key, sizeof(key));
	aead = dp_aead_new(key);
	from_hex(to->key, key, sizeof(key));
	from_hex(to->nonce, nonce, sizeof(nonce));
	from_hex(to->tag, tag, sizeof(tag));
	tap_ok(aead != NULL && dp_aead_rekey(aead, key) &&
		   dp_aead_seal(aead, nonce, aad, aad_len, in, len, out, out_tag) &&
		   memcmp(out_tag, tag, DP_TAG_LEN) == 0 &&
		   dp_aead_open(aead, nonce, aad, aad_len, out, len, tag, out) &&
		   memcmp(out, in, len) == 0,
		   "rekey changes the key of both directions");

	dp_aead_clear(aead);
	memset(out, 0xee, sizeof(out));
	tap_ok(!dp_aead_seal(aead, nonce, aad, aad_len, in, len, out, out_tag) &&
		   all_zeros(out, len) && all_zeros(out_tag, DP_TAG_LEN),
		   "a cleared context seals nothing, least of all under zeros");
	tap_ok(!dp_aead_open(aead, nonce, aad, aad_len, in, len, tag, out) && all_zeros(out, len),
		   "a cleared context opens nothing");
	tap_ok(dp_aead_rekey(aead, key) &&
		   dp_aead_seal(aead, nonce, aad, aad_len, in, len, out, out_tag) &&
		   memcmp(out_tag, tag, DP_TAG_LEN) == 0,
		   "a cleared context can be keyed again");
	dp_aead_free(aead);
}

/* OpenSSL's own GCM, which no part of ours is in the way of. */
static bool
seal_plainly(const uint8_t *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
			 const uint8_t *in, size_t len, uint8_t *out, uint8_t *tag)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int			n;
	bool		ok = ctx != NULL && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
		(aad_len == 0 || EVP_EncryptUpdate(ctx, NULL, &n, aad, (int) aad_len) == 1) &&
		(len == 0 || EVP_EncryptUpdate(ctx, out, &n, in, (int) len) == 1) &&
		EVP_EncryptFinal_ex(ctx, out + len, &n) == 1 &&
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, DP_TAG_LEN, tag) == 1;

	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

/*
 * Short and long messages go different ways: each length gives what OpenSSL gives,
 * opens, and opens no more with a bit of it turned, whatever key the context had.
 */
static void
check_lengths(void)
{
	static const size_t aad_lens[] = {0, 13, 29};
	uint8_t		key[DP_KEY_LEN];
	uint8_t		nonce[DP_NONCE_LEN];
	uint8_t		tag[DP_TAG_LEN];
	uint8_t		wanted_tag[DP_TAG_LEN];
	uint8_t		in[600];
	uint8_t		wanted[600];
	uint8_t		out[600];
	DpAead	   *aead;
	bool		seals = true;
	bool		opens = true;
	bool		refuses = true;

	memset(key, 7, sizeof(key));
	aead = dp_aead_new(key);
	for (size_t len = 0; aead != NULL && len < sizeof(in); len++)
	{
		const size_t aad_len = aad_lens[len % 3];

		for (size_t i = 0; i < len; i++)
			in[i] = (uint8_t) (i * 31 + len);
		memset(nonce, (int) len, sizeof(nonce));
		if (len % 50 == 49)
		{
			if (len % 100 == 49)
				dp_aead_clear(aead);
			key[len % DP_KEY_LEN]++;
			seals &= dp_aead_rekey(aead, key);
		}
		seals &= seal_plainly(key, nonce, in, aad_len, in, len, wanted, wanted_tag) &&
			dp_aead_seal(aead, nonce, in, aad_len, in, len, out, tag) &&
			memcmp(out, wanted, len) == 0 && memcmp(tag, wanted_tag, DP_TAG_LEN) == 0;
		opens &= dp_aead_open(aead, nonce, in, aad_len, wanted, len, wanted_tag, out) && memcmp(out, in, len) == 0;

		tag[len % DP_TAG_LEN] ^= (uint8_t) (1 << len % 8);
		refuses &= !dp_aead_open(aead, nonce, in, aad_len, wanted, len, tag, out) && all_zeros(out, len);
		if (len == 0)
			continue;
		wanted[len / 2] ^= (uint8_t) (1 << len % 8);
		refuses &= !dp_aead_open(aead, nonce, in, aad_len, wanted, len, wanted_tag, out) && all_zeros(out, len);
		wanted[len / 2] ^= (uint8_t) (1 << len % 8);
		if (aad_len > 0)
			refuses &= !dp_aead_open(aead, nonce, in, aad_len - 1, wanted, len, wanted_tag, out);
	}
	tap_ok(aead != NULL && seals, "messages of each length are sealed as OpenSSL seals them");
	tap_ok(aead != NULL && opens, "messages of each length open");
	tap_ok(aead != NULL && refuses, "messages of each length, altered by a bit, open to zeros");
	if (aead != NULL)
		dp_aead_clear(aead);
	tap_ok(aead != NULL && !dp_aead_seal(aead, nonce, in, 13, in, 500, out, tag) &&
		   !dp_aead_open(aead, nonce, in, 13, wanted, 500, wanted_tag, out),
		   "a cleared context has no key for long messages either");
	dp_aead_free(aead);
}

/*
 * RFC 4231, cases 1 to 4.  HMAC pads a key with zeros to the block's 64 bytes,
 * so a shorter key and the same key with zeros up to 32 bytes are the same; the
 * first byte of the message goes into our domain.
 */
static void
check_hmac(void)
{
	static const struct
	{
		const char *key;
		const char *msg;
		const char *mac;
	}			cases[] = {
		{
			"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
			"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
		},
		{
			"4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
			"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
		},
		{
			"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			"dddddddddddddddddddddddddddddddddddddddddddddddddd"
			"dddddddddddddddddddddddddddddddddddddddddddddddddd",
			"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
		},
		{
			"0102030405060708090a0b0c0d0e0f10111213141516171819",
			"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
			"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
			"82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"
		}
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		uint8_t		key[DP_KEY_LEN] = {0};
		uint8_t		msg[MAX_LEN];
		uint8_t		mac[DP_PRF_OUT_LEN];
		uint8_t		out[DP_PRF_OUT_LEN];
		size_t		len = from_hex(cases[i].msg, msg, sizeof(msg));
		DpPrf	   *prf;
		bool		good;

		from_hex(cases[i].key, key, sizeof(key));
		from_hex(cases[i].mac, mac, sizeof(mac));
		prf = dp_prf_new(key);
		good = prf != NULL && dp_prf(prf, msg[0], msg + 1, len - 1, out) &&
			memcmp(out, mac, sizeof(mac)) == 0;
		tap_ok(good, "RFC 4231, test case %zu", i + 1);
		tap_ok(prf != NULL && dp_prf(prf, msg[0] ^ 1, msg + 1, len - 1, out) &&
			   memcmp(out, mac, sizeof(mac)) != 0 &&
			   dp_prf(prf, msg[0], msg + 1, len - 1, out) &&
			   memcmp(out, mac, sizeof(mac)) == 0,
			   "RFC 4231, test case %zu: another domain, another answer; then the first again",
			   i + 1);
		dp_prf_free(prf);
	}
}

/* FIPS 180-4's examples: one block, two blocks, nothing. */
static void
check_sha256(void)
{
	static const char *const cases[][2] = {
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{
			"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
		},
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		uint8_t		digest[32];
		uint8_t		out[32];

		from_hex(cases[i][1], digest, sizeof(digest));
		tap_ok(dp_sha256((const uint8_t *) cases[i][0], strlen(cases[i][0]), out) &&
			   memcmp(out, digest, sizeof(digest)) == 0,
			   "SHA-256 of %zu bytes", strlen(cases[i][0]));
	}
}

int
main(void)
{
	size_t		i;

	for (i = 0; i < sizeof(gcm_vectors) / sizeof(gcm_vectors[0]); i++)
		check_gcm(&gcm_vectors[i]);
	check_rekey(&gcm_vectors[0], &gcm_vectors[3]);
	check_lengths();
	check_hmac();
	check_sha256();
	return tap_done();
}
