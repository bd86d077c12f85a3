/*
 * token_fuzz.c
 *	  Tokens of anybody: reading stays inside them, what is read ends inside the room,
 *	  and none without a signature or of another algorithm comes through.  An input is
 *	  the token itself, or (after a "!") the JSON of a header and, after a NUL, claims.
 */
#include "access/token.h"

#include "fuzz.h"

/* Before an error the parser leaves names behind: in a server, to its memory context. */
extern const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:parse_object_field";
}

static size_t
encode(const uint8_t *in, size_t len, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t	bits = 0;
	int			n_bits = 0;
	size_t		n = 0;

	for (size_t i = 0; i < len; i++)
	{
		bits = bits << 8 | in[i];
		for (n_bits += 8; n_bits >= 6; n_bits -= 6)
			out[n++] = digits[(bits >> (n_bits - 6)) & 63];
	}
	if (n_bits > 0)
		out[n++] = digits[(bits << (6 - n_bits)) & 63];
	return n;
}

static void
check_text(const char *text, const char *room)
{
	if (text == NULL)
		return;
	must(text >= room && text < room + DP_TOKEN_ROOM);
	must(memchr(text, '\0', room + DP_TOKEN_ROOM - text) != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = (char *) exact(2 * size + 16);
	char	   *room = (char *) exact(DP_TOKEN_ROOM);
	size_t		len = size;
	DpToken		token;

	if (size > 0 && data[0] == '!')
	{
		const uint8_t *claims = memchr(data, '\0', size);
		size_t		header_len = claims == NULL ? size - 1 : (size_t) (claims - data - 1);

		len = encode(data + 1, header_len, text);
		text[len++] = '.';
		len += claims == NULL ? 0 : encode(claims + 1, data + size - claims - 1, text + len);
		memcpy(text + len, ".AAAA", 5);
		len += 5;
	}
	else if (size > 0)
		memcpy(text, data, size);
	if (dp_token_parse(text, len, room, &token) == NULL)
	{
		must(token.algorithm != DP_JWS_NONE && token.signature_len > 0 && token.signed_len < len);
		must(token.n_audience <= DP_TOKEN_LIST && token.n_amr <= DP_TOKEN_LIST);
		check_text(token.kid, room);
		check_text(token.issuer, room);
		check_text(token.subject, room);
		check_text(token.id, room);
		check_text(token.acr, room);
		check_text(token.payload, room);
		for (int i = 0; i < token.n_audience; i++)
			check_text(token.audience[i], room);
		for (int i = 0; i < token.n_amr; i++)
			check_text(token.amr[i], room);
		must(token.payload[token.payload_len] == '\0');
		must(!token.has_expires || (token.expires >= 0 && token.expires < INT64_C(253402300800)));
	}
	free(room);
	free(text);
	return 0;
}
