/*
 * literals_fuzz.c
 *	  Constants never come through into a log line, whatever the SQL looks like.
 *
 * The first byte chooses: the rest is any text, or it is put around a string
 * that must not be seen afterwards.
 */
#include <string.h>

#include "audit/literals.h"
#include "fuzz.h"

#define NEEDLE "zqneedle"

static void
any_text(const char *text, size_t len)
{
	char	   *out = malloc(len + 1);

	must(out != NULL);
	if (dp_literals_remove(text, len, out))
	{
		must(strlen(out) <= len);
		must(strchr(out, '\'') == NULL);
	}
	else
		must(out[0] == '\0');
	(void) dp_literals_possible(text);
	(void) dp_literals_leak(text, NEEDLE);
	free(out);
}

/* A statement that ends in a constant: what stands before it is the input. */
static void
around_needle(const char *text, size_t len)
{
	static const char constant[] = " = '" NEEDLE "'";
	char	   *sql = malloc(len + sizeof(constant));
	char	   *out = malloc(len + sizeof(constant));

	must(sql != NULL && out != NULL);
	memcpy(sql, text, len);
	memcpy(sql + len, constant, sizeof(constant));

	/*
	 * Only where the input alone is whole does the constant begin where we put it; then it is
	 * never shown, and counts as a possible leak.
	 */
	if (dp_literals_remove(sql, len, out) && strstr(text, NEEDLE) == NULL)
	{
		if (dp_literals_remove(sql, strlen(sql), out))
			must(strstr(out, NEEDLE) == NULL);
		must(dp_literals_possible(sql));
	}
	free(sql);
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text;
	size_t		len;

	if (size < 1)
		return 0;
	text = malloc(size);
	must(text != NULL);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	len = strlen(text);
	if (data[0] & 1)
		any_text(text, len);
	else
		around_needle(text, len);
	free(text);
	return 0;
}
