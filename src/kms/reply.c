/*
 * reply.c
 *	  Replies of AWS KMS and of Vault, read by PostgreSQL's JSON parser.
 *
 * A member that we want is taken where the parser stands on its value, and put
 * unescaped over the value's own place in the buffer: so a secret is in the
 * caller's buffer and in the lexer's, and both are wiped.
 */
#include "postgres.h"

#include "base/compat.h"
#include "kms/reply.h"

typedef struct Reader
{
	JsonLexContext *lex;
	DpKmsReply *reply;
	char	   *buf;
	int			depth;			/* arrays and objects that are open */
	bool		is_object;		/* the outermost value */
	bool		in_data;		/* within its member "data" */
} Reader;

/* Where a member of the outermost object goes; NULL for one that we do not use. */
static char **
wanted_member(DpKmsReply *reply, const char *name)
{
	if (strcmp(name, "CiphertextBlob") == 0)
		return &reply->ciphertext;
	if (strcmp(name, "Plaintext") == 0)
		return &reply->plaintext;
	if (strcmp(name, "__type") == 0)
		return &reply->error_type;
	return NULL;
}

/* The same for the object in its member "data". */
static char **
wanted_in_data(DpKmsReply *reply, const char *name)
{
	if (strcmp(name, "ciphertext") == 0)
		return &reply->data_ciphertext;
	if (strcmp(name, "plaintext") == 0)
		return &reply->data_plaintext;
	return NULL;
}

static DpJsonResult
begin_object(void *state)
{
	Reader	   *reader = state;

	if (++reader->depth > DP_KMS_REPLY_DEPTH)
		DP_JSON_STOP(reader->lex);
	if (reader->depth == 1)
		reader->is_object = true;
	DP_JSON_GO_ON;
}

static DpJsonResult
begin_array(void *state)
{
	Reader	   *reader = state;

	if (++reader->depth > DP_KMS_REPLY_DEPTH)
		DP_JSON_STOP(reader->lex);
	DP_JSON_GO_ON;
}

static DpJsonResult
end_nested(void *state)
{
	((Reader *) state)->depth--;
	DP_JSON_GO_ON;
}

/* The lexer stands on the value: its unescaped form is never longer than it. */
static DpJsonResult
begin_member(void *state, char *name, bool isnull)
{
	Reader	   *reader = state;
	JsonLexContext *lex = reader->lex;
	char	  **wanted = NULL;

	if (reader->depth == 1 && reader->is_object)
	{
		wanted = wanted_member(reader->reply, name);
		reader->in_data = strcmp(name, "data") == 0;
	}
	else if (reader->depth == 2 && reader->is_object && reader->in_data)
		wanted = wanted_in_data(reader->reply, name);

	pfree(name);
	if (wanted == NULL)
		DP_JSON_GO_ON;
	if (*wanted != NULL || lex->token_type != JSON_TOKEN_STRING)
		DP_JSON_STOP(lex);
	*wanted = reader->buf + (lex->token_start - lex->input);
	memcpy(*wanted, lex->strval->data, lex->strval->len + 1);
	DP_JSON_GO_ON;
}

/* "com.amazonaws.kms#DisabledException:http://..." is DisabledException. */
static char *
strip_namespace(char *type)
{
	char	   *hash = strchr(type, '#');
	char	   *bare = hash ? hash + 1 : type;

	bare[strcspn(bare, ":")] = '\0';
	return bare;
}

bool
dp_kms_reply_parse(char *buf, size_t len, DpKmsReply *out)
{
	Reader		reader = {.reply = out,.buf = buf};
	JsonSemAction actions = {
		.semstate = &reader,
		.object_start = begin_object,
		.object_end = end_nested,
		.array_start = begin_array,
		.array_end = end_nested,
		.object_field_start = begin_member
	};
	bool		ok;

	memset(out, 0, sizeof(*out));
	buf[len] = '\0';
	reader.lex = dp_json_begin(buf, len);
	ok = pg_parse_json(reader.lex, &actions) == JSON_SUCCESS && reader.is_object;
	dp_json_end(reader.lex);
	if (ok && out->error_type != NULL)
		out->error_type = strip_namespace(out->error_type);
	return ok;
}
