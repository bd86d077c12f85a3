/*
 * sink_reply.c
 *	  Replies of an HTTP Event Collector; see sink_reply.h.
 *
 * One walk over a JSON object of strings, numbers, words and objects, at most
 * MAX_DEPTH deep.  Arrays do not occur in these replies: one is no reply.
 */
#include "audit/sink_reply.h"

#include <string.h>

#define MAX_DEPTH 4
#define MAX_MEMBERS 64

typedef struct Token
{
	const char *start;
	size_t		len;
} Token;

typedef struct Walk
{
	const char *at;
	const char *end;
	int			members;

	/* what is looked for, and where it was found last */
	Token		code_value;
	Token		ack_value;
	Token		acked_value;	/* of the member of "acks" that is wanted */
	const char *wanted_ack;
} Walk;

static bool
token_is(Token token, const char *text)
{
	return token.len == strlen(text) && memcmp(token.start, text, token.len) == 0;
}

static void
skip_space(Walk *walk)
{
	while (walk->at < walk->end && strchr(" \t\r\n", *walk->at) != NULL && *walk->at != '\0')
		walk->at++;
}

static bool
take(Walk *walk, char c)
{
	skip_space(walk);
	if (walk->at >= walk->end || *walk->at != c)
		return false;
	walk->at++;
	return true;
}

/* A string, without its quotes; escapes are passed over, not resolved. */
static bool
take_string(Walk *walk, Token *out)
{
	if (!take(walk, '"'))
		return false;
	out->start = walk->at;
	while (walk->at < walk->end && *walk->at != '"')
	{
		if ((unsigned char) *walk->at < ' ')
			return false;
		if (*walk->at == '\\' && walk->end - walk->at > 1)
			walk->at++;
		walk->at++;
	}
	if (walk->at >= walk->end)
		return false;
	out->len = (size_t) (walk->at - out->start);
	walk->at++;
	return true;
}

/* true, false, null, or a number. */
static bool
take_word(Walk *walk, Token *out)
{
	skip_space(walk);
	out->start = walk->at;
	while (walk->at < walk->end && *walk->at != '\0' &&
		   strchr("abcdefghijklmnopqrstuvwxyz0123456789+-.E", *walk->at) != NULL)
		walk->at++;
	out->len = (size_t) (walk->at - out->start);
	return out->len > 0 && out->len < 32;
}

static bool
take_object(Walk *walk, int depth, Token parent)
{
	static const Token none = {"", 0};

	if (depth > MAX_DEPTH || !take(walk, '{'))
		return false;
	if (take(walk, '}'))
		return true;
	do
	{
		Token		name;
		Token		value = none;

		if (++walk->members > MAX_MEMBERS || !take_string(walk, &name) || !take(walk, ':'))
			return false;
		skip_space(walk);
		if (walk->at >= walk->end)
			return false;
		if (*walk->at == '{')
		{
			if (!take_object(walk, depth + 1, depth == 0 ? name : none))
				return false;
			continue;
		}
		if (*walk->at == '"')
		{
			if (!take_string(walk, &value))
				return false;
			continue;			/* what counts is no string */
		}
		if (!take_word(walk, &value))
			return false;
		if (depth == 0 && token_is(name, "code"))
			walk->code_value = value;
		else if (depth == 0 && token_is(name, "ackId"))
			walk->ack_value = value;
		else if (depth == 1 && token_is(parent, "acks") && walk->wanted_ack != NULL &&
				 token_is(name, walk->wanted_ack))
			walk->acked_value = value;
	} while (take(walk, ','));
	return take(walk, '}');
}

static bool
walk_reply(Walk *walk, const char *text, size_t len)
{
	static const Token none = {"", 0};

	walk->at = text;
	walk->end = text + len;
	if (!take_object(walk, 0, none))
		return false;
	skip_space(walk);
	return walk->at == walk->end;
}

bool
dp_hec_reply_taken(const char *text, size_t len, int64_t *out_ack)
{
	Walk		walk = {0};
	int64_t		ack = 0;

	*out_ack = -1;
	walk.code_value.start = walk.ack_value.start = walk.acked_value.start = "";
	if (!walk_reply(&walk, text, len) || !token_is(walk.code_value, "0"))
		return false;
	if (walk.ack_value.len == 0)
		return true;
	if (walk.ack_value.len > 18)
		return false;
	for (size_t i = 0; i < walk.ack_value.len; i++)
	{
		if (walk.ack_value.start[i] < '0' || walk.ack_value.start[i] > '9')
			return false;
		ack = ack * 10 + (walk.ack_value.start[i] - '0');
	}
	*out_ack = ack;
	return true;
}

bool
dp_hec_reply_acked(const char *text, size_t len, int64_t ack)
{
	Walk		walk = {0};
	char		number[24];
	size_t		at = sizeof(number) - 1;

	if (ack < 0)
		return false;
	number[at] = '\0';
	do
	{
		number[--at] = (char) ('0' + ack % 10);
		ack /= 10;
	} while (ack > 0);
	walk.code_value.start = walk.ack_value.start = walk.acked_value.start = "";
	walk.wanted_ack = number + at;
	return walk_reply(&walk, text, len) && token_is(walk.acked_value, "true");
}
