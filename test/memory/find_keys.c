/*
 * find_keys.c
 *	  Look for the bytes of a database's keys in processes and files.
 *
 *	cc -Isrc -o find_keys find_keys.c src/crypto/{aead,keywrap,prf,random}.c -lcrypto
 *	find_keys ROOT-FILE < KEYS  PID|FILE ...
 *
 * KEYS, one a line, all but the kind in hexadecimal, epochs before what they wrap:
 *	epoch ID CONTEXT BLOB
 *	KIND EPOCH-ID CONTEXT WRAPPED
 *
 * What is looked for, of each key: both its halves, which are the first two round keys
 * of AES-256 as well; these with the bytes of each word turned round, as portable
 * code schedules them; the subkey of GCM, either way round; the state of SHA-256 that
 * HMAC keeps; base64 and hexadecimal.  One line for each place:
 *	PID-OR-FILE KIND FORM MAPPING
 * Exit status 0 where all was looked through, found or not; memory that the kernel
 * shows to nobody (memfd_secret) is passed over.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "crypto/aead.h"

#define MAX_KEYS 256
#define FORM_LEN 16
#define CHUNK (1 << 20)

typedef struct Pattern
{
	const char *kind;
	const char *form;
	uint8_t		bytes[FORM_LEN];
} Pattern;

static Pattern patterns[MAX_KEYS * 10];
static int	n_patterns = 0;
static uint8_t filter[1 << 16]; /* by the first two bytes */

static struct
{
	char		id[64];
	uint8_t		key[DP_KEY_LEN];
}			epochs[MAX_KEYS];
static int	n_epochs = 0;

static void
fail(const char *what)
{
	fprintf(stderr, "find_keys: %s\n", what);
	exit(2);
}

static size_t
from_hex(const char *hex, uint8_t *out, size_t max)
{
	size_t		n = strlen(hex) / 2;

	if (n > max)
		fail("too long");
	for (size_t i = 0; i < n; i++)
	{
		unsigned	byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			fail("not hexadecimal");
		out[i] = (uint8_t) byte;
	}
	return n;
}

static void
add(const char *kind, const char *form, const void *bytes)
{
	Pattern    *p = &patterns[n_patterns++];

	p->kind = kind;
	p->form = form;
	memcpy(p->bytes, bytes, FORM_LEN);
	filter[p->bytes[0] | p->bytes[1] << 8] = 1;
}

static void
turn(const uint8_t *in, int word, uint8_t *out)
{
	for (int i = 0; i < FORM_LEN; i++)
		out[i] = in[i / word * word + word - 1 - i % word];
}

static void
add_key(const char *kind, const uint8_t key[DP_KEY_LEN])
{
	static const uint8_t zeros[16];
	uint8_t		block[64];
	uint8_t		turned[FORM_LEN];
	char		text[2 * DP_KEY_LEN + 1];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	SHA256_CTX	sha;
	int			n;

	add(kind, "key", key);
	add(kind, "second half", key + 16);
	turn(key, 4, turned);
	add(kind, "round key", turned);
	turn(key + 16, 4, turned);
	add(kind, "second round key", turned);
	if (EVP_EncryptInit_ex(ctx, EVP_aes_256_ecb(), NULL, key, NULL) != 1 || EVP_EncryptUpdate(ctx, block, &n, zeros, 16) != 1)
		fail("AES");
	EVP_CIPHER_CTX_free(ctx);
	add(kind, "subkey", block);
	turn(block, 8, turned);
	add(kind, "turned subkey", turned);

	memset(block, 0x36, sizeof(block));
	for (int i = 0; i < DP_KEY_LEN; i++)
		block[i] ^= key[i];
	SHA256_Init(&sha);
	SHA256_Update(&sha, block, sizeof(block));
	add(kind, "HMAC state", sha.h);

	EVP_EncodeBlock((uint8_t *) text, key, DP_KEY_LEN);
	add(kind, "base64", text);
	for (int i = 0; i < DP_KEY_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", key[i]);
	add(kind, "hexadecimal", text);
}

static void
read_keys(const uint8_t root[DP_KEY_LEN])
{
	static char line[8192];
	static char kind[64],
				id[64],
				context_hex[2048],
				blob_hex[4096];

	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		uint8_t		context[1024];
		uint8_t		blob[2048];
		uint8_t		key[DP_KEY_LEN];
		const uint8_t *above = root;
		size_t		context_len;
		size_t		blob_len;

		if (sscanf(line, "%63s %63s %2047s %4095s", kind, id, context_hex, blob_hex) != 4)
			continue;
		if (n_patterns / 10 >= MAX_KEYS - 1)
			fail("too many keys");
		context_len = from_hex(context_hex, context, sizeof(context));
		blob_len = from_hex(blob_hex, blob, sizeof(blob));
		if (strcmp(kind, "epoch") != 0)
		{
			above = NULL;
			for (int i = 0; i < n_epochs; i++)
			{
				if (strcmp(epochs[i].id, id) == 0)
					above = epochs[i].key;
			}
		}
		if (above == NULL || !dp_key_unwrap(above, context, context_len, blob, blob_len, key))
			fail("a key does not open");
		if (strcmp(kind, "epoch") == 0)
		{
			snprintf(epochs[n_epochs].id, sizeof(epochs[0].id), "%s", id);
			memcpy(epochs[n_epochs++].key, key, DP_KEY_LEN);
		}
		add_key(strdup(kind), key);
	}
}

static void
look(const char *where, const char *mapping, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i + FORM_LEN <= len; i++)
	{
		if (!filter[bytes[i] | bytes[i + 1] << 8])
			continue;
		for (int p = 0; p < n_patterns; p++)
		{
			if (memcmp(bytes + i, patterns[p].bytes, FORM_LEN) == 0)
				printf("%s %s %s %s\n", where, patterns[p].kind, patterns[p].form, mapping);
		}
	}
}

/* A range of a file, in pieces that overlap; a page that cannot be read is passed over. */
static void
look_through(int fd, const char *where, const char *mapping, uint64_t from, uint64_t to)
{
	static uint8_t piece[CHUNK];

	while (from < to)
	{
		size_t		want = to - from < CHUNK ? (size_t) (to - from) : CHUNK;
		ssize_t		got = pread(fd, piece, want, (off_t) from);

		if (got <= 0)
		{
			from += want < 4096 ? want : 4096;
			continue;
		}
		look(where, mapping, piece, (size_t) got);
		from += (uint64_t) got == to - from || got <= FORM_LEN ? (uint64_t) got : (uint64_t) got - FORM_LEN + 1;
	}
}

static void
look_into_process(const char *pid)
{
	char		path[64];
	char		line[1024];
	FILE	   *maps;
	int			mem;

	snprintf(path, sizeof(path), "/proc/%s/mem", pid);
	mem = open(path, O_RDONLY);
	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "r");
	if (mem < 0 || maps == NULL)
		fail("a process cannot be looked into");
	while (fgets(line, sizeof(line), maps) != NULL)
	{
		unsigned long from,
					to;
		char		rights[5];
		char		name[512] = "anonymous";

		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %511[^\n]", &from, &to, rights, name) < 3)
			fail("a mapping cannot be read");
		/* what was never written holds nothing */
		if (rights[0] == 'r' && strcmp(name, "[vvar]") != 0 &&
			(rights[1] == 'w' || strchr(name, '/') == NULL))
			look_through(mem, pid, name, from, to);
	}
	fclose(maps);
	close(mem);
}

int
main(int argc, char **argv)
{
	uint8_t		root[DP_KEY_LEN];
	FILE	   *file = argc > 1 ? fopen(argv[1], "rb") : NULL;

	if (file == NULL || fread(root, 1, DP_KEY_LEN, file) != DP_KEY_LEN)
		fail("usage: find_keys ROOT-FILE PID|FILE... < KEYS");
	fclose(file);
	add_key("root", root);
	read_keys(root);
	for (int i = 2; i < argc; i++)
	{
		if (strspn(argv[i], "0123456789") == strlen(argv[i]))
			look_into_process(argv[i]);
		else
		{
			int			fd = open(argv[i], O_RDONLY);

			if (fd < 0)
				fail("a file cannot be opened");
			look_through(fd, argv[i], "file", 0, (uint64_t) lseek(fd, 0, SEEK_END));
			close(fd);
		}
	}
	return 0;
}
