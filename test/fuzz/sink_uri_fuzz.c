/*
 * sink_uri_fuzz.c
 *	  URIs of sinks: what is accepted names nothing outside itself, and no host
 *	  but a loopback one goes without TLS.
 */
#include <string.h>

#include "audit/sink_uri.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = (char *) exact(size + 1);
	const char *problem;
	DpSinkUri	uri;

	memcpy(text, data, size);
	text[size] = '\0';
	if (dp_sink_uri_parse(text, &uri, &problem))
	{
		must(strpbrk(text, "@#%*,\"\\ \n") == NULL);
		must(strstr(text, "/../") == NULL && strstr(uri.path, "//") == NULL);
		must(strstr(text, uri.host) != NULL && strstr(text, uri.path) != NULL);
		if (strncmp(text, "http://", 7) == 0 || strncmp(text, "splunk-hec+http://", 18) == 0)
			must(uri.loopback);
		must((uri.kind == DP_SINK_S3) == (uri.region[0] != '\0'));
		must(uri.kind != DP_SINK_FILE || (uri.path[0] == '/' && uri.host[0] == '\0'));
		must(dp_sink_kind_name(uri.kind)[0] != '\0');
	}
	else
		must(problem != NULL && problem[strlen(problem) - 1] == '.');
	free(text);
	return 0;
}
