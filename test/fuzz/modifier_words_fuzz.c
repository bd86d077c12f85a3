/*
 * modifier_words_fuzz.c
 *	  The canonical text of a modifier means what its words meant.
 *
 * The input is words with a zero byte after each.
 */
#include <string.h>

#include "fuzz.h"
#include "types/modifier_words.h"

#define MAX_WORDS 16

/* 'a','b''c' to a, b'c; in place: each word gives up two quotes for one end. */
static int
split_canonical(char *text, const char **words)
{
	int			n = 0;
	char	   *in = text;
	char	   *out = text;

	while (*in != '\0')
	{
		must(n < MAX_WORDS);
		must(*in == '\'');
		in++;
		words[n++] = out;
		for (; !(in[0] == '\'' && in[1] != '\''); *out++ = *in++)
		{
			must(*in != '\0');
			if (in[0] == '\'')
				in++;
		}
		in++;
		if (*in == ',')
			in++;
		else
			must(*in == '\0');
		*out++ = '\0';
	}
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *copy = (char *) exact(size + 1);
	const char *words[MAX_WORDS];
	DpModifierWords first;
	DpModifierWords second;
	char	   *text = (char *) exact(DP_MODIFIER_TEXT_SIZE);
	char	   *again = (char *) exact(DP_MODIFIER_TEXT_SIZE);
	char	   *split = (char *) exact(DP_MODIFIER_TEXT_SIZE);
	size_t		at = 0;
	int			n = 0;

	memcpy(copy, data, size);
	copy[size] = '\0';
	while (at < size && n < MAX_WORDS)
	{
		words[n++] = copy + at;
		at += strlen(copy + at) + 1;
	}
	if (dp_modifier_words_read(words, n, &first) == NULL)
	{
		dp_modifier_words_write(&first, text);
		must(strlen(text) < DP_MODIFIER_TEXT_SIZE);
		must(strcmp(first.key, words[0]) == 0);
		memcpy(split, text, strlen(text) + 1);
		n = split_canonical(split, words);
		must(dp_modifier_words_read(words, n, &second) == NULL);
		must(memcmp(&first, &second, sizeof(first)) == 0);
		dp_modifier_words_write(&second, again);
		must(strcmp(text, again) == 0);
	}
	free(copy);
	free(text);
	free(again);
	free(split);
	return 0;
}
