/*
 * token_keys.c
 *	  The keys of the issuer; see token_keys.h.
 *
 * The file, or what the URL names, decides who is believed: a file must be writable
 * by its owner alone, a URL is https.  A key
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
#include "kms/key_set.h"
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

pg_noreturn static void
fail_set(const char *problem)
{
	if (dp_guc_jwt_keys_file[0] != '\0')
		fail(problem);
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not read the keys of the issuer of tokens"),
			 errdetail("What \"dataprotect.jwt_keys_url\" names %s.", problem)));
}

/* The members are ASCII; what else a key set has in names is not asked for. */
static Jsonb *
parse_json(const char *text)
{
	Jsonb	   *volatile set = NULL;

	PG_TRY();
	{
		set = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pg_any_to_server(text, strlen(text), PG_UTF8))));
	}
	PG_CATCH();
	{
		FlushErrorState();
		fail_set("is not a JSON Web Key Set");
	}
	PG_END_TRY();
	return set;
}

static JsonbContainer *
parse_keys(const char *text)
{
	Jsonb	   *set = parse_json(text);
	JsonbValue *keys = NULL;

	if (JB_ROOT_IS_OBJECT(set))
		keys = getKeyJsonValueFromContainer(&set->root, "keys", 4, NULL);
	if (keys == NULL || keys->type != jbvBinary || !JsonContainerIsArray(keys->val.binary.data))
		fail_set("is not a JSON Web Key Set");
	return keys->val.binary.data;
}

/* What the agent has fetched, or fetches now. */
static JsonbContainer *
fetch_keys(bool anew)
{
	char	   *text = palloc(DP_HTTP_REPLY_MAX + 1);
	const char *problem;

	if (!dp_key_set_read(anew, text, &problem))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not fetch the keys of the issuer of tokens"),
				 errdetail_internal("%s", problem),
				 errhint("\"dataprotect.jwt_keys_url\" names a JSON Web Key Set that the server can reach.")));
	return parse_keys(text);
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

/* *out_named: the set has a key of the name that the token gives. */
static bool
verify_by_any(JsonbContainer *keys, const DpToken *token, const char *text, bool *out_named)
{
	uint32		n = Min(JsonContainerSize(keys), KEYS_MAX);

	*out_named = false;
	for (uint32 i = 0; i < n; i++)
	{
		JsonbValue *key = getIthJsonbValueFromContainer(keys, i);
		char	   *kid;

		if (key == NULL || key->type != jbvBinary || !JsonContainerIsObject(key->val.binary.data))
			continue;
		if (verify_by(key->val.binary.data, token, text))
			return true;
		kid = member(key->val.binary.data, "kid");
		*out_named |= token->kid != NULL && kid != NULL && strcmp(kid, token->kid) == 0;
	}
	return false;
}

bool
dp_token_keys_verify(const DpToken *token, const char *text)
{
	bool		named;

	if (dp_guc_jwt_keys_file[0] != '\0')
		return verify_by_any(parse_keys(read_file()), token, text, &named);
	if (verify_by_any(fetch_keys(false), token, text, &named))
		return true;
	/* the issuer has a new key, or there is no such key */
	return !named && token->kid != NULL && verify_by_any(fetch_keys(true), token, text, &named);
}
