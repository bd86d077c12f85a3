/*
 * reply.c
 *	  Replies of AWS KMS and of Vault, read by PostgreSQL's JSON parser.
 *
 * A member that we want is taken where the parser stands on its value, and put
 * unescaped over the value's own place in the buffer: so a secret is in the
 * caller's buffer and in the lexer's, and both are wiped.
 *
 * Each member wanted knows how many names of its path lead to where the parser is:
 * at depth d its first d - 1 names must have matched before its d-th can.
 */
#include "postgres.h"

#include "base/compat.h"
#include "kms/reply.h"

#define ELEMENT "[]"

typedef struct Reader
{
	JsonLexContext *lex;
	DpKmsMember *members;
	int			n_members;
	char	   *buf;
	int			depth;			/* arrays and objects that are open */
	bool		is_object;		/* the outermost value */
} Reader;

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

/* The depth-th name of a path (from 1), and whether it is the last; NULL: it is shorter. */
static const char *
name_at(const char *path, int depth, size_t *out_len, bool *out_last)
{
	for (int i = 1; i < depth; i++)
	{
		path += strcspn(path, ".");
		if (*path++ == '\0')
			return NULL;
	}
	*out_len = strcspn(path, ".");
	*out_last = path[*out_len] == '\0';
	return path;
}

/*
 * The lexer stands on the value.  A string's unescaped form is never longer than
 * it.  A number has no room for a terminator behind it, where the lexer goes on; it
 * is put one place to the left, over what was read before it.
 */
static bool
take_value(Reader *reader, DpKmsMember *member)
{
	JsonLexContext *lex = reader->lex;
	char	   *place;

	if (lex->token_type == JSON_TOKEN_NULL)
		return true;
	if (lex->token_start == NULL)	/* the reply ends where its value should stand */
		return false;
	place = reader->buf + (lex->token_start - lex->input);
	if (member->n >= (strstr(member->path, ELEMENT) != NULL ? DP_KMS_REPLY_LIST : 1))
		return false;
	switch (lex->token_type)
	{
		case JSON_TOKEN_STRING:
			memcpy(place, lex->strval->data, lex->strval->len + 1);
			break;
		case JSON_TOKEN_NUMBER:
		case JSON_TOKEN_TRUE:
		case JSON_TOKEN_FALSE:
			{
				size_t		len = lex->token_terminator - lex->token_start;

				place--;
				memmove(place, place + 1, len);
				place[len] = '\0';
				break;
			}
		default:
			return false;
	}
	member->list[member->n++] = place;
	member->value = member->list[0];
	return true;
}

/* At a member of that name, or at an element. */
static bool
visit(Reader *reader, const char *name, bool is_element)
{
	int			depth = reader->depth;

	for (int i = 0; i < reader->n_members; i++)
	{
		DpKmsMember *member = &reader->members[i];
		const char *wanted;
		size_t		len;
		bool		last;

		if (member->matched < depth - 1)
			continue;
		member->matched = depth - 1;
		wanted = name_at(member->path, depth, &len, &last);
		if (wanted == NULL || strlen(name) != len || memcmp(wanted, name, len) != 0 ||
			is_element != (strcmp(name, ELEMENT) == 0))
			continue;
		if (!last)
			member->matched = depth;
		else if (!take_value(reader, member))
			return false;
	}
	return true;
}

static DpJsonResult
begin_member(void *state, char *name, bool isnull)
{
	Reader	   *reader = state;
	bool		ok = visit(reader, name, false);

	pfree(name);
	if (!ok)
		DP_JSON_STOP(reader->lex);
	DP_JSON_GO_ON;
}

static DpJsonResult
begin_element(void *state, bool isnull)
{
	Reader	   *reader = state;

	if (!visit(reader, ELEMENT, true))
		DP_JSON_STOP(reader->lex);
	DP_JSON_GO_ON;
}

bool
dp_kms_reply_parse(char *buf, size_t len, DpKmsMember *members, int n_members)
{
	Reader		reader = {.members = members,.n_members = n_members,.buf = buf};
	JsonSemAction actions = {
		.semstate = &reader,
		.object_start = begin_object,
		.object_end = end_nested,
		.array_start = begin_array,
		.array_end = end_nested,
		.object_field_start = begin_member,
		.array_element_start = begin_element
	};
	bool		ok;

	for (int i = 0; i < n_members; i++)
	{
		members[i].value = NULL;
		members[i].n = 0;
		members[i].matched = 0;
	}
	buf[len] = '\0';
	reader.lex = dp_json_begin(buf, len);
	ok = pg_parse_json(reader.lex, &actions) == JSON_SUCCESS && reader.is_object;
	dp_json_end(reader.lex);
	return ok;
}

char *
dp_kms_reply_bare_type(char *type)
{
	char	   *hash = strchr(type, '#');
	char	   *bare = hash ? hash + 1 : type;

	bare[strcspn(bare, ":")] = '\0';
	return bare;
}
