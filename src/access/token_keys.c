/*
 * token_keys.c
 *	  The keys of the issuer; see token_keys.h.
 *
 * The file decides who is believed: it must be writable by its owner alone.  A key
 * serves where its kind is the algorithm's; where it names an algorithm or a use they
 * are the token's; and where the token names a key it is that one.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/token_keys.h"
#include "base/compat.h"
#include "base/guc.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define FILE_MAX	(256 * 1024)
#define KEYS_MAX	64

pg_noreturn static void
fail(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("could not read the keys of the issuer of tokens"),
			 errdetail("File \"%s\" %s.", dp_guc_jwt_keys_file, problem),
			 errhint("\"dataprotect.jwt_keys_file\" names a JSON Web Key Set that only its owner can write.")));
}

static char *
read_file(void)
{
	int			fd = OpenTransientFile(dp_guc_jwt_keys_file, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	char	   *text = palloc(FILE_MAX + 1);
	struct stat st;
	int			len = 0;

	if (fd < 0)
		fail("could not be opened");
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		fail("is not a regular file");
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 || (st.st_uid != geteuid() && st.st_uid != 0))
		fail("can be written by others");
	if (st.st_size > FILE_MAX)
		fail("is too long");
	while (len < FILE_MAX)
	{
		ssize_t		n = read(fd, text + len, FILE_MAX - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += n;
	}
	CloseTransientFile(fd);
	text[len] = '\0';
	if (strlen(text) != len || !pg_verify_mbstr(PG_UTF8, text, len, true))
		fail("is not text");
	return text;
}

/* The members are ASCII; what else a key set has in names is not asked for. */
static JsonbContainer *
read_keys(void)
{
	char	   *text = read_file();
	Jsonb	   *set = NULL;
	JsonbValue *keys = NULL;

	PG_TRY();
	{
		set = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pg_any_to_server(text, strlen(text), PG_UTF8))));
	}
	PG_CATCH();
	{
		FlushErrorState();
		fail("is not a JSON Web Key Set");
	}
	PG_END_TRY();
	if (JB_ROOT_IS_OBJECT(set))
		keys = getKeyJsonValueFromContainer(&set->root, "keys", 4, NULL);
	if (keys == NULL || keys->type != jbvBinary || !JsonContainerIsArray(keys->val.binary.data))
		fail("is not a JSON Web Key Set");
	return keys->val.binary.data;
}

static char *
member(JsonbContainer *key, const char *name)
{
	JsonbValue *value = getKeyJsonValueFromContainer(key, name, strlen(name), NULL);

	return value != NULL && value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

static const uint8 *
bytes_of(JsonbContainer *key, const char *name, size_t *out_len)
{
	char	   *text = member(key, name);

	*out_len = text == NULL ? 0 : strlen(text);
	if (text == NULL || !dp_base64url_decode(text, *out_len, (uint8 *) text, out_len))
		*out_len = 0;
	return (uint8 *) text;
}

static bool
agrees(const char *said, const char *wanted)
{
	return said == NULL || strcmp(said, wanted) == 0;
}

static bool
verify_by(JsonbContainer *key, const DpToken *token, const char *text)
{
	static const char *const names[] = {"", "RS256", "ES256", "EdDSA"};
	uint8		der[DP_JWS_KEY_MAX];
	size_t		der_len;
	char	   *kid = member(key, "kid");
	DpJwk		jwk;

	if (!agrees(member(key, "alg"), names[token->algorithm]) || !agrees(member(key, "use"), "sig") ||
		(token->kid != NULL && (kid == NULL || strcmp(kid, token->kid) != 0)))
		return false;
	memset(&jwk, 0, sizeof(jwk));
	jwk.kty = member(key, "kty");
	jwk.crv = member(key, "crv");
	jwk.n = bytes_of(key, "n", &jwk.n_len);
	jwk.e = bytes_of(key, "e", &jwk.e_len);
	jwk.x = bytes_of(key, "x", &jwk.x_len);
	jwk.y = bytes_of(key, "y", &jwk.y_len);
	return dp_jws_key(token->algorithm, &jwk, der, &der_len) &&
		dp_jws_verify(token->algorithm, der, der_len, (const uint8 *) text, token->signed_len,
					  token->signature, token->signature_len);
}

bool
dp_token_keys_verify(const DpToken *token, const char *text)
{
	JsonbContainer *keys = read_keys();
	uint32		n = Min(JsonContainerSize(keys), KEYS_MAX);

	for (uint32 i = 0; i < n; i++)
	{
		JsonbValue *key = getIthJsonbValueFromContainer(keys, i);

		if (key != NULL && key->type == jbvBinary && JsonContainerIsObject(key->val.binary.data) &&
			verify_by(key->val.binary.data, token, text))
			return true;
	}
	return false;
}
