/*
 * token.c
 *	  Reading a JSON Web Token; see token.h.
 *
 * The room is given out in pieces: header, payload, a copy of the payload for each
 * look (the reader changes what it reads), signature.
 */
#include "postgres.h"

#include <math.h>

#include "access/token.h"
#include "kms/reply.h"

#define LAST_SECOND 253402300799.0	/* of the year 9999 */

typedef struct Room
{
	char	   *at;
	char	   *end;
} Room;

/* One part, decoded and NUL-terminated; NULL where it is none. */
static char *
decode_part(Room *room, const char *part, size_t len, size_t *out_len)
{
	char	   *out = room->at;

	*out_len = room->end - room->at;
	if (*out_len == 0 || len == 0 || !dp_base64url_decode(part, len, (uint8 *) out, out_len) ||
		*out_len >= (size_t) (room->end - room->at))
		return NULL;
	out[*out_len] = '\0';
	room->at += *out_len + 1;
	return out;
}

static char *
copy_part(Room *room, const char *part, size_t len)
{
	char	   *out = room->at;

	if (len + 1 > (size_t) (room->end - room->at))
		return NULL;
	memcpy(out, part, len);
	out[len] = '\0';
	room->at += len + 1;
	return out;
}

/* What is critical we do not know; keys and addresses of keys are not the token's to say. */
static const char *
read_header(char *header, size_t len, DpToken *out)
{
	DpKmsMember wanted[] = {
		{.path = "alg"}, {.path = "kid"}, {.path = "crit"}, {.path = "jku"}, {.path = "jwk"},
		{.path = "x5u"}, {.path = "x5c"}, {.path = "b64"}, {.path = "zip"}, {.path = "enc"}, {.path = "crit.[]"}, {.path = "x5c.[]"}
	};

	if (!dp_kms_reply_parse(header, len, wanted, lengthof(wanted)))
		return "Its header is not understood.";
	for (int i = 2; i < lengthof(wanted); i++)
	{
		if (wanted[i].value != NULL)
			return "Its header has a member that is not accepted: crit, jku, jwk, x5u, x5c, b64, zip or enc.";
	}
	out->algorithm = dp_jws_algorithm(wanted[0].value);
	out->kid = wanted[1].value;
	if (out->algorithm == DP_JWS_NONE)
		return "Its algorithm is not one of RS256, ES256 and EdDSA.";
	return NULL;
}

/* Seconds; a fraction is cut off. */
static bool
read_time(const char *text, int64 *out, bool *out_given)
{
	char	   *end;
	double		seconds;

	*out_given = text != NULL;
	if (text == NULL)
		return true;
	seconds = strtod(text, &end);
	if (end == text || *end != '\0' || strspn(text, "0123456789.eE+-") != strlen(text) ||
		!(seconds >= 0 && seconds <= LAST_SECOND))
		return false;
	*out = (int64) floor(seconds);
	return true;
}

/* No control characters, which would write lines of their own. */
static bool
is_name(const char *text)
{
	if (text == NULL)
		return true;
	if (*text == '\0' || strlen(text) > DP_TOKEN_NAME)
		return false;
	for (; *text != '\0'; text++)
	{
		if ((unsigned char) *text < ' ' || *text == 0x7f)
			return false;
	}
	return true;
}

static const char *
read_claims(char *claims, char *again, size_t len, DpToken *out)
{
	DpKmsMember wanted[] = {
		{.path = "iss"}, {.path = "sub"}, {.path = "jti"}, {.path = "acr"},
		{.path = "exp"}, {.path = "nbf"}, {.path = "iat"}, {.path = "amr.[]"}, {.path = "aud.[]"}
	};
	DpKmsMember audience = {.path = "aud"};

	if (!dp_kms_reply_parse(claims, len, wanted, lengthof(wanted)))
		return "Its claims are not understood.";
	if (wanted[8].n == 0 && !dp_kms_reply_parse(again, len, &audience, 1))
		return "Its audience is not understood.";
	out->issuer = wanted[0].value;
	out->subject = wanted[1].value;
	out->id = wanted[2].value;
	out->acr = wanted[3].value;
	if (!is_name(out->subject) || !is_name(out->id))
		return "Its subject or its identifier is too long or not printable.";
	if (!read_time(wanted[4].value, &out->expires, &out->has_expires) ||
		!read_time(wanted[5].value, &out->not_before, &out->has_not_before) ||
		!read_time(wanted[6].value, &out->issued, &out->has_issued))
		return "One of its times is none.";
	memcpy(out->amr, wanted[7].list, sizeof(out->amr));
	out->n_amr = wanted[7].n;
	if (wanted[8].n > 0)
		memcpy(out->audience, wanted[8].list, sizeof(out->audience));
	else
		out->audience[0] = audience.value;
	out->n_audience = wanted[8].n > 0 ? wanted[8].n : audience.n;
	return NULL;
}

StaticAssertDecl(DP_TOKEN_LIST == DP_KMS_REPLY_LIST, "lists of a token are those of the reader");

const char *
dp_token_parse(const char *text, size_t len, char *room, DpToken *out)
{
	Room		free_room = {room, room + DP_TOKEN_ROOM};
	const char *first = len > DP_TOKEN_MAX ? NULL : memchr(text, '.', len);
	const char *second = first == NULL ? NULL : memchr(first + 1, '.', text + len - first - 1);
	const char *problem;
	char	   *header;
	char	   *payload;
	char	   *claims;
	char	   *again;
	size_t		header_len;

	memset(out, 0, sizeof(*out));
	if (len > DP_TOKEN_MAX)
		return "It is longer than 16 kB.";
	if (second == NULL)
		return "It has not three parts with a dot between them.";
	out->signed_len = second - text;
	header = decode_part(&free_room, text, first - text, &header_len);
	payload = decode_part(&free_room, first + 1, second - first - 1, &out->payload_len);
	if (header == NULL || payload == NULL)
		return "One of its parts is not base64url.";
	problem = read_header(header, header_len, out);
	if (problem != NULL)
		return problem;
	out->signature = (uint8 *) decode_part(&free_room, second + 1, text + len - second - 1, &out->signature_len);
	if (out->signature == NULL)
		return "Its signature is missing, or not base64url.";
	claims = copy_part(&free_room, payload, out->payload_len);
	again = copy_part(&free_room, payload, out->payload_len);
	if (claims == NULL || again == NULL)
		return "It is too long.";
	out->payload = payload;
	return read_claims(claims, again, out->payload_len, out);
}
