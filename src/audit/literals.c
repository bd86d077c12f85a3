/*
 * literals.c
 *	  A lexer for just enough SQL to find constants.
 *
 * In doubt it gives up: the caller then shows nothing.  Known forms: '...' with
 * doubled quotes, e'...' with backslashes, $tag$...$tag$, "...", -- and nested
 * comments, numbers in every notation, $1.  Prefixes (b, x, n, u&) stay, as
 * they say nothing.
 */
#include "audit/literals.h"

#include <string.h>

#define SHORTEST_LEAK 3
#define LONGEST_NAME 63

typedef struct Lexer
{
	const char *at;
	const char *end;
	const char *token;			/* start of the last token */
	size_t		token_len;
} Lexer;

typedef enum Token
{
	TOKEN_END,
	TOKEN_DOUBT,
	TOKEN_KEEP,					/* copy as it is */
	TOKEN_CONSTANT,
	TOKEN_COMMENT
} Token;

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

static bool
is_name(char c)
{
	return is_name_start(c) || is_digit(c) || c == '$';
}

/* at: the opening quote. */
static Token
lex_string(Lexer *lexer, bool backslashes)
{
	const char *p = lexer->at + 1;

	for (; p < lexer->end; p++)
	{
		if (*p == '\\')
		{
			if (backslashes)
				p++;
			else if (p + 1 < lexer->end && p[1] == '\'')
				return TOKEN_DOUBT; /* standard_conforming_strings decides */
		}
		else if (*p == '\'')
		{
			if (p + 1 < lexer->end && p[1] == '\'')
				p++;
			else
			{
				lexer->at = p + 1;
				return TOKEN_CONSTANT;
			}
		}
	}
	return TOKEN_DOUBT;
}

/* An unusual or long name is taken for a string by somebody's mistake. */
static Token
lex_quoted_name(Lexer *lexer)
{
	const char *p = lexer->at + 1;
	bool		plain = true;

	for (; p < lexer->end; p++)
	{
		if (*p != '"')
			plain = plain && is_name(*p);
		else if (p + 1 < lexer->end && p[1] == '"')
		{
			plain = false;
			p++;
		}
		else
		{
			plain = plain && p - lexer->at - 1 <= LONGEST_NAME;
			lexer->at = p + 1;
			return plain ? TOKEN_KEEP : TOKEN_CONSTANT;
		}
	}
	return TOKEN_DOUBT;
}

static Token
lex_block_comment(Lexer *lexer)
{
	const char *p = lexer->at + 2;
	int			depth = 1;

	while (p + 1 < lexer->end)
	{
		if (p[0] == '/' && p[1] == '*')
		{
			depth++;
			p += 2;
		}
		else if (p[0] == '*' && p[1] == '/')
		{
			p += 2;
			if (--depth == 0)
			{
				lexer->at = p;
				return TOKEN_COMMENT;
			}
		}
		else
			p++;
	}
	return TOKEN_DOUBT;
}

/* at: a "$": parameter, dollar-quoted string, or a lone character. */
static Token
lex_dollar(Lexer *lexer)
{
	const char *p = lexer->at + 1;
	size_t		mark_len;

	if (p < lexer->end && is_digit(*p))
	{
		while (p < lexer->end && is_digit(*p))
			p++;
		lexer->at = p;
		return TOKEN_KEEP;
	}
	if (p < lexer->end && is_name_start(*p))
		while (p < lexer->end && is_name(*p) && *p != '$')
			p++;
	if (p >= lexer->end || *p != '$')
	{
		lexer->at++;
		return TOKEN_KEEP;
	}
	mark_len = p + 1 - lexer->at;
	for (p++; p + mark_len <= lexer->end; p++)
	{
		if (memcmp(p, lexer->at, mark_len) == 0)
		{
			lexer->at = p + mark_len;
			return TOKEN_CONSTANT;
		}
	}
	return TOKEN_DOUBT;
}

static Token
lex_number(Lexer *lexer)
{
	const char *p = lexer->at;

	while (p < lexer->end)
	{
		if (is_name(*p) || *p == '.')
			p++;
		else if ((*p == '+' || *p == '-') && (p[-1] == 'e' || p[-1] == 'E') &&
				 p + 1 < lexer->end && is_digit(p[1]))
			p++;
		else
			break;
	}
	lexer->at = p;
	return TOKEN_CONSTANT;
}

static Token
lex_name(Lexer *lexer)
{
	const char *start = lexer->at;

	while (lexer->at < lexer->end && is_name(*lexer->at))
		lexer->at++;
	if (lexer->at - start == 1 && (*start == 'e' || *start == 'E') &&
		lexer->at < lexer->end && *lexer->at == '\'')
		return lex_string(lexer, true);
	return TOKEN_KEEP;
}

static Token
next_token(Lexer *lexer)
{
	const char *p = lexer->at;
	char		second;
	Token		token;

	lexer->token = p;
	if (p >= lexer->end)
		return TOKEN_END;
	second = p + 1 < lexer->end ? p[1] : '\0';
	if (is_name_start(*p))
		token = lex_name(lexer);
	else if (is_digit(*p) || (*p == '.' && is_digit(second)))
		token = lex_number(lexer);
	else if (*p == '\'')
		token = lex_string(lexer, false);
	else if (*p == '"')
		token = lex_quoted_name(lexer);
	else if (*p == '$')
		token = lex_dollar(lexer);
	else if (*p == '/' && second == '*')
		token = lex_block_comment(lexer);
	else if (*p == '-' && second == '-')
	{
		while (lexer->at < lexer->end && *lexer->at != '\n')
			lexer->at++;
		token = TOKEN_COMMENT;
	}
	else
	{
		lexer->at++;
		token = TOKEN_KEEP;
	}
	lexer->token_len = lexer->at - lexer->token;
	return token;
}

bool
dp_literals_remove(const char *in, size_t in_len, char *out)
{
	Lexer		lexer = {in, in + in_len, NULL, 0};
	char	   *to = out;
	Token		token;

	while ((token = next_token(&lexer)) != TOKEN_END)
	{
		switch (token)
		{
			case TOKEN_KEEP:
				memcpy(to, lexer.token, lexer.token_len);
				to += lexer.token_len;
				break;
			case TOKEN_CONSTANT:
				*to++ = '?';
				break;
			case TOKEN_COMMENT:
				*to++ = ' ';
				break;
			default:
				*out = '\0';
				return false;
		}
	}
	*to = '\0';
	return true;
}

bool
dp_literals_possible(const char *in)
{
	char		before = ' ';

	for (; *in != '\0'; before = *in++)
	{
		if (*in == '\'' || (*in == '-' && before == '-') || (*in == '*' && before == '/') ||
			(*in == '$' && !is_digit(in[1])) || (is_digit(*in) && !is_name(before)))
			return true;
	}
	return false;
}

/* Does [from, to) occur in text, and is it long enough to tell something? */
static bool
contains_between(const char *text, const char *from, const char *to)
{
	size_t		text_len = strlen(text);
	size_t		len = to - from;

	if (to < from || len < SHORTEST_LEAK)
		return false;
	for (size_t i = 0; i + len <= text_len; i++)
		if (memcmp(text + i, from, len) == 0)
			return true;
	return false;
}

/* sql: a statement, or the body of a dollar-quoted constant. */
static bool
leaks(const char *sql, const char *end, const char *text)
{
	Lexer		lexer = {sql, end, NULL, 0};
	Token		token;

	while ((token = next_token(&lexer)) != TOKEN_END)
	{
		const char *first;
		const char *last = lexer.at - 1;

		if (token == TOKEN_DOUBT)
			return true;
		if (token != TOKEN_CONSTANT)
			continue;
		if (*lexer.token == '$')
		{
			size_t		mark_len = (const char *) memchr(lexer.token + 1, '$', last - lexer.token) - lexer.token + 1;

			if (contains_between(text, lexer.token + mark_len, lexer.at - mark_len) ||
				leaks(lexer.token + mark_len, lexer.at - mark_len, text))
				return true;
			continue;
		}
		first = memchr(lexer.token, '\'', lexer.token_len);
		if (first != NULL && contains_between(text, first + 1, last))
			return true;
	}
	return false;
}

bool
dp_literals_leak(const char *sql, const char *text)
{
	return leaks(sql, sql + strlen(sql), text);
}
