/*
 * kms_uri_fuzz.c
 *	  Key URIs and endpoints: what is accepted has one spelling, names nothing
 *	  outside itself, and matches itself as a pattern.
 */
#include <string.h>

#include "fuzz.h"
#include "kms/uri.h"

static void
check_accepted(const char *text, const DpKmsUri *uri)
{
	size_t		len = strlen(text);

	must(strcmp(uri->text, text) == 0);
	must(strpbrk(text, "*,\"\\%#\n") == NULL);
	must(uri->name[0] != '\0' && strstr(text, uri->name) != NULL);
	/* white space around a pattern is ignored, so such a path needs a star */
	must(text[len - 1] == ' ' || dp_kms_uri_allowed(text, text));
	must(dp_kms_uri_allowed("x, *", text));

	if (uri->scheme == DP_KMS_SCHEME_FILE)
	{
		must(uri->name[0] == '/' && uri->region[0] == '\0');
		must(strstr(uri->name, "//") == NULL && strstr(uri->name, "/../") == NULL);
		must(strchr(text, '?') == NULL);
	}
	else if (uri->region[0] != '\0')	/* of Amazon's: the other schemes have none */
	{
		must(strspn(uri->region, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(uri->region));
		must(strpbrk(uri->name, "?&= @.") == NULL);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = (char *) exact(size + 1);
	DpKmsUri	uri;
	const char *problem;
	const char *start;
	size_t		len;
	bool		loopback;

	memcpy(text, data, size);
	text[size] = '\0';

	if (dp_kms_uri_parse(text, &uri, &problem) == DP_KMS_URI_OK)
		check_accepted(text, &uri);
	else
		must(problem != NULL && problem[strlen(problem) - 1] == '.');

	if (dp_kms_endpoint_valid(text, &loopback))
	{
		must(loopback || strncmp(text, "https://", 8) == 0);
		must(strpbrk(text, "@?# \\") == NULL);
	}
	if (!dp_kms_patterns_valid(text, &start, &len))
		must(start >= text && start + len <= text + strlen(text) && memchr(start, '*', len - 1) != NULL);
	(void) dp_kms_uri_allowed(text, "file:///etc/dataprotect/root.key");

	free(text);
	return 0;
}
