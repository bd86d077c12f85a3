/*
 * sink_uri.c
 *	  Parsing a sink's URI; see sink_uri.h for the grammar.
 */
#include "audit/sink_uri.h"

#include <string.h>

#define LOWER	"abcdefghijklmnopqrstuvwxyz"
#define UPPER	"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS	"0123456789"

static const struct
{
	const char *prefix;
	DpSinkKind	kind;
	bool		tls;
}			schemes[] =

{
	{"splunk-hec://", DP_SINK_SPLUNK, true},
	{"splunk-hec+http://", DP_SINK_SPLUNK, false},
	{"https://", DP_SINK_WEBHOOK, true},
	{"http://", DP_SINK_WEBHOOK, false},
	{"s3://", DP_SINK_S3, true},
	{"syslog-tls://", DP_SINK_SYSLOG, true},
	{"file://", DP_SINK_FILE, true},
};

const char *
dp_sink_kind_name(DpSinkKind kind)
{
	switch (kind)
	{
		case DP_SINK_SPLUNK:
			return "splunk";
		case DP_SINK_WEBHOOK:
			return "webhook";
		case DP_SINK_S3:
			return "s3";
		case DP_SINK_SYSLOG:
			return "syslog";
		case DP_SINK_FILE:
			return "file";
	}
	return "";
}

/* A name or an address, perhaps with a port of 1 to 65535. */
static bool
check_host(const char *text, size_t len, bool *out_loopback)
{
	size_t		host_len = strspn(text, LOWER DIGITS ".-");
	unsigned	port = 0;

	if (len > 0 && text[0] == '[')
	{
		host_len = 1 + strspn(text + 1, "abcdef" DIGITS ":.");
		if (host_len >= len || host_len < 4 || text[host_len] != ']')
			return false;
		host_len++;
	}
	else if (host_len == 0 || text[0] == '.' || text[0] == '-')
		return false;
	if (host_len > len)
		host_len = len;
	*out_loopback = (host_len == 9 && strncmp(text, "localhost", 9) == 0) ||
		(host_len == 9 && strncmp(text, "127.0.0.1", 9) == 0) ||
		(host_len == 5 && strncmp(text, "[::1]", 5) == 0);
	if (host_len == len)
		return true;
	if (text[host_len] != ':' || len - host_len < 2 || len - host_len > 6 || text[host_len + 1] == '0')
		return false;
	for (size_t i = host_len + 1; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned) (text[i] - '0');
	}
	return port >= 1 && port <= 65535;
}

/* "/" and components of harmless characters, none of them empty, "." or "..". */
static bool
check_path(const char *text, size_t len)
{
	size_t		start = 1;

	if (len < 2 || text[0] != '/')
		return false;
	for (size_t i = 1; i <= len; i++)
	{
		size_t		part = i - start;

		if (i < len && text[i] != '/')
		{
			if (strchr(LOWER UPPER DIGITS "._-~=", text[i]) == NULL)
				return false;
			continue;
		}
		if (part == 0 || (text[start] == '.' && (part == 1 || (part == 2 && text[start + 1] == '.'))))
			return false;
		start = i + 1;
	}
	return true;
}

static void
copy_part(char *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	out[len] = '\0';
}

/* BUCKET[/PREFIX]?region=REGION */
static bool
parse_s3(const char *rest, DpSinkUri *out, const char **out_problem)
{
	size_t		bucket_len = strspn(rest, LOWER DIGITS ".-");
	const char *query = strchr(rest, '?');
	size_t		path_len;
	size_t		region_len;

	*out_problem = "An S3 sink is s3://BUCKET[/PREFIX]?region=REGION.";
	if (query == NULL || strncmp(query, "?region=", 8) != 0 || bucket_len < 3 || bucket_len > 63 ||
		rest[0] == '.' || rest[0] == '-')
		return false;
	region_len = strlen(query + 8);
	path_len = (size_t) (query - rest) - bucket_len;
	if (region_len == 0 || region_len >= sizeof(out->region) ||
		strspn(query + 8, LOWER DIGITS "-") != region_len ||
		(path_len > 0 && !check_path(rest + bucket_len, path_len)))
		return false;
	copy_part(out->host, rest, bucket_len);
	copy_part(out->path, rest + bucket_len, path_len);
	copy_part(out->region, query + 8, region_len);
	return true;
}

static bool
parse_place(const char *rest, bool tls, DpSinkUri *out, const char **out_problem)
{
	size_t		host_len = strcspn(rest, "/");
	size_t		path_len = strlen(rest) - host_len;

	*out_problem = "After the scheme stand a host, perhaps a port and, for a webhook, a path; no user, query or fragment.";
	if (!check_host(rest, host_len, &out->loopback) ||
		(path_len > 0 && out->kind != DP_SINK_WEBHOOK) ||
		(path_len > 1 && !check_path(rest + host_len, path_len)))
		return false;
	if (!tls && !out->loopback)
	{
		*out_problem = "Without TLS only a loopback address can be used.";
		return false;
	}
	copy_part(out->host, rest, host_len);
	copy_part(out->path, rest + host_len, path_len);
	return true;
}

bool
dp_sink_uri_parse(const char *text, DpSinkUri *out, const char **out_problem)
{
	memset(out, 0, sizeof(*out));
	if (strlen(text) >= DP_SINK_URI_MAX)
	{
		*out_problem = "It is longer than 511 bytes.";
		return false;
	}
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
	{
		size_t		len = strlen(schemes[i].prefix);
		const char *rest = text + len;

		if (strncmp(text, schemes[i].prefix, len) != 0)
			continue;
		out->kind = schemes[i].kind;
		if (out->kind == DP_SINK_S3)
			return parse_s3(rest, out, out_problem);
		if (out->kind != DP_SINK_FILE)
			return parse_place(rest, schemes[i].tls, out, out_problem);
		*out_problem = "A directory is file:///DIRECTORY, without \".\", \"..\" or empty parts.";
		if (!check_path(rest, strlen(rest)))
			return false;
		copy_part(out->path, rest, strlen(rest));
		return true;
	}
	*out_problem = "The schemes are splunk-hec, https, s3, syslog-tls and file.";
	return false;
}
