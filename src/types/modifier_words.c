/*
 * modifier_words.c
 *	  The words of an encrypted type's modifier; see modifier_words.h.
 */
#include "types/modifier_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_NUMBER 1000000000

static const char not_a_list[] = "The base type's modifier is a list of numbers in parentheses.";

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *
skip_spaces(const char *p)
{
	while (*p == ' ')
		p++;
	return p;
}

/* One number with a sign before it; NULL where there is none, or too large. */
static const char *
read_number(const char *p, int32_t *out)
{
	char	   *end;
	long		number;

	/* strtol takes white space and "+" as well */
	if (!is_digit(p[0]) && !(p[0] == '-' && is_digit(p[1])))
		return NULL;
	errno = 0;
	number = strtol(p, &end, 10);
	if (errno != 0 || number < -LARGEST_NUMBER || number > LARGEST_NUMBER)
		return NULL;
	*out = (int32_t) number;
	return end;
}

/* "5,2" or "(5,2)" */
static const char *
read_base_modifier(const char *p, DpModifierWords *out)
{
	bool		closes = p[0] == '(';

	if (closes)
		p++;
	for (;;)
	{
		if (out->n_numbers == DP_MODIFIER_MAX_NUMBERS)
			return not_a_list;
		p = read_number(skip_spaces(p), &out->numbers[out->n_numbers]);
		if (p == NULL)
			return not_a_list;
		out->n_numbers++;
		p = skip_spaces(p);
		if (closes ? p[0] == ')' && p[1] == '\0' : p[0] == '\0')
			return NULL;
		if (p[0] != ',')
			return not_a_list;
		p++;
	}
}

/* The words that say yes, in the order of the canonical text. */
static const char *const switches[] = {"searchable", "ordered", "padded"};

#define N_SWITCHES	(sizeof(switches) / sizeof(switches[0]))

static bool *
switch_of(DpModifierWords *words, size_t i)
{
	return i == 0 ? &words->searchable : i == 1 ? &words->ordered : &words->padded;
}

/* Which word it is; N_SWITCHES where none. */
static size_t
find_switch(const char *word)
{
	size_t		i = 0;

	while (i < N_SWITCHES && strcmp(word, switches[i]) != 0)
		i++;
	return i;
}

/* An unknown modifier prints as its number: that is no key's name. */
static bool
names_key(const char *word)
{
	return word[0] != '\0' && word[0] != '(' && strlen(word) < DP_MODIFIER_KEY_SIZE &&
		strspn(word, "0123456789") != strlen(word) && find_switch(word) == N_SWITCHES;
}

const char *
dp_modifier_words_read(const char *const *words, int n, DpModifierWords *out)
{
	const char *problem = NULL;
	int			i;

	memset(out, 0, sizeof(*out));
	if (n < 1 || !names_key(words[0]))
		return "The first word must be the name of a key.";
	memcpy(out->key, words[0], strlen(words[0]));
	for (i = 1; i < n && problem == NULL; i++)
	{
		size_t		which = find_switch(words[i]);

		if (which < N_SWITCHES && !*switch_of(out, which))
			*switch_of(out, which) = true;
		else if ((words[i][0] == '(' || words[i][0] == '-' || is_digit(words[i][0])) && out->n_numbers == 0)
			problem = read_base_modifier(words[i], out);
		else
			problem = "A word is unknown or stands there twice.";
	}
	return problem;
}

/* The longest text fits: a key of quotes alone, all words, eight numbers. */
#define LONGEST_TEXT	(2 * (DP_MODIFIER_KEY_SIZE - 1) + 2 + sizeof(",'searchable'") + \
						 sizeof(",'ordered'") + sizeof(",'padded'") + sizeof(",'()'") + DP_MODIFIER_MAX_NUMBERS * sizeof("-1000000000,"))
_Static_assert(LONGEST_TEXT <= DP_MODIFIER_TEXT_SIZE, "the longest canonical text does not fit");

static size_t
append(char *out, size_t len, const char *text)
{
	size_t		text_len = strlen(text);

	memcpy(out + len, text, text_len + 1);
	return len + text_len;
}

void
dp_modifier_words_write(const DpModifierWords *words, char out[DP_MODIFIER_TEXT_SIZE])
{
	const char *key;
	size_t		len = 0;
	int			i;

	out[len++] = '\'';
	for (key = words->key; *key != '\0'; key++)
	{
		if (*key == '\'')
			out[len++] = '\'';
		out[len++] = *key;
	}
	len = append(out, len, "'");
	for (size_t which = 0; which < N_SWITCHES; which++)
	{
		DpModifierWords copy = *words;

		if (*switch_of(&copy, which))
			len += (size_t) snprintf(out + len, DP_MODIFIER_TEXT_SIZE - len, ",'%s'", switches[which]);
	}
	for (i = 0; i < words->n_numbers; i++)
		len += (size_t) snprintf(out + len, DP_MODIFIER_TEXT_SIZE - len, "%s%d", i == 0 ? ",'" : ",", words->numbers[i]);
	if (words->n_numbers > 0)
		(void) append(out, len, "'");
}
