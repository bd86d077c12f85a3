/*
 * uri.c
 *	  Parser of key URIs; see uri.h for the grammar.
 */
#include <string.h>

#include "kms/uri.h"

#define FILE_PREFIX		"file://"
#define AWS_PREFIX		"aws-kms://"
#define HCVAULT_PREFIX	"hcvault://"
#define KMIP_PREFIX		"kmip://"
#define PKCS11_PREFIX	"pkcs11:"
#define REGION_QUERY	"region="

/* Our own classes: <ctype.h> depends on the locale. */
static bool
is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Between 1 and max letters, digits and characters of extra. */
static bool
is_word(const char *text, size_t len, size_t max, const char *extra)
{
	if (len == 0 || len > max)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (!is_alpha(text[i]) && !is_digit(text[i]) &&
			(text[i] == '\0' || strchr(extra, text[i]) == NULL))
			return false;
	}
	return true;
}

/* A region goes into a host name: lower case, digits and hyphens. */
static bool
is_region(const char *text, size_t len)
{
	if (!is_word(text, len, DP_KMS_REGION_MAX - 1, "-") || text[0] == '-' || text[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] >= 'A' && text[i] <= 'Z')
			return false;
	}
	return true;
}

static bool
is_key_or_alias(const char *text, size_t len, bool *out_alias)
{
	*out_alias = len > strlen("alias/") && starts_with(text, "alias/");
	if (*out_alias)
		return is_word(text + strlen("alias/"), len - strlen("alias/"), 250, "/_-");
	return is_word(text, len, 64, "-");
}

/*
 * arn:PARTITION:kms:REGION:ACCOUNT:RESOURCE, text[0..len).  Sets the region
 * and whether the resource is an alias.
 */
static bool
parse_arn(const char *text, size_t len, DpKmsUri *out, size_t *out_region_len)
{
	const char *field[6];
	size_t		field_len[6];
	const char *p = text;
	const char *end = text + len;

	for (int i = 0; i < 6; i++)
	{
		const char *colon = (i < 5) ? memchr(p, ':', end - p) : end;

		if (colon == NULL)
			return false;
		field[i] = p;
		field_len[i] = colon - p;
		p = colon + (i < 5 ? 1 : 0);
	}

	if (field_len[0] != 3 || memcmp(field[0], "arn", 3) != 0 ||
		!is_word(field[1], field_len[1], 20, "-") ||
		field_len[2] != 3 || memcmp(field[2], "kms", 3) != 0 ||
		!is_region(field[3], field_len[3]) ||
		field_len[4] != 12)
		return false;
	for (int i = 0; i < 12; i++)
	{
		if (!is_digit(field[4][i]))
			return false;
	}

	if (field_len[5] > 4 && memcmp(field[5], "key/", 4) == 0)
	{
		if (!is_word(field[5] + 4, field_len[5] - 4, 64, "-"))
			return false;
		out->by_alias = false;
	}
	else if (!is_key_or_alias(field[5], field_len[5], &out->by_alias) || !out->by_alias)
		return false;

	memcpy(out->region, field[3], field_len[3]);
	*out_region_len = field_len[3];
	return true;
}

static DpKmsUriResult
parse_aws(const char *text, DpKmsUri *out, const char **out_problem)
{
	const char *name = text + strlen(AWS_PREFIX);
	const char *query = strchr(name, '?');
	size_t		name_len = query ? (size_t) (query - name) : strlen(name);
	size_t		region_len = 0;

	*out_problem = "Expected aws-kms://ARN, aws-kms://alias/NAME?region=REGION "
		"or aws-kms://KEY-ID?region=REGION.";

	if (name_len > 4 && starts_with(name, "arn:"))
	{
		if (!parse_arn(name, name_len, out, &region_len))
			return DP_KMS_URI_MALFORMED;
	}
	else if (!is_key_or_alias(name, name_len, &out->by_alias))
		return DP_KMS_URI_MALFORMED;

	if (query != NULL)
	{
		const char *region = query + 1 + strlen(REGION_QUERY);

		if (!starts_with(query + 1, REGION_QUERY) || !is_region(region, strlen(region)))
		{
			*out_problem = "The only parameter of an aws-kms URI is region=REGION.";
			return DP_KMS_URI_MALFORMED;
		}
		if (region_len > 0 && (strlen(region) != region_len ||
							   memcmp(region, out->region, region_len) != 0))
		{
			*out_problem = "The region differs from that of the ARN.";
			return DP_KMS_URI_MALFORMED;
		}
		region_len = strlen(region);
		memcpy(out->region, region, region_len);
	}
	if (region_len == 0)
	{
		*out_problem = "An aws-kms URI without an ARN needs ?region=REGION.";
		return DP_KMS_URI_MALFORMED;
	}

	out->region[region_len] = '\0';
	memcpy(out->name, name, name_len);
	out->name[name_len] = '\0';
	return DP_KMS_URI_OK;
}

static DpKmsUriResult
parse_file(const char *text, DpKmsUri *out, const char **out_problem)
{
	const char *path = text + strlen(FILE_PREFIX);
	const char *component;

	*out_problem = "Expected file:///PATH with an absolute path and no host.";
	if (path[0] != '/' || path[1] == '\0')
		return DP_KMS_URI_MALFORMED;

	*out_problem = "A path must not contain control characters, or any of % ? # * , \" \\.";
	for (const char *c = path; *c != '\0'; c++)
	{
		if ((unsigned char) *c < 0x20 || *c == 0x7f || strchr("%?#*,\"\\", *c) != NULL)
			return DP_KMS_URI_MALFORMED;
	}

	*out_problem = "A path must not contain empty components, \".\" or \"..\".";
	for (component = path; component != NULL; component = strchr(component, '/'))
	{
		size_t		len = strcspn(++component, "/");

		if (len == 0 ||
			(len == 1 && component[0] == '.') ||
			(len == 2 && component[0] == '.' && component[1] == '.'))
			return DP_KMS_URI_MALFORMED;
	}

	memcpy(out->name, path, strlen(path) + 1);
	return DP_KMS_URI_OK;
}

/* "NAME=" and a value of plain characters up to ";" or the end; *cursor moves past both. */
static bool
parse_pkcs11_attribute(const char **cursor, const char *name, char *out, size_t out_size)
{
	const char *value;
	size_t		len;

	if (!starts_with(*cursor, name))
		return false;
	value = *cursor + strlen(name);
	len = strcspn(value, ";");
	if (len >= out_size || !is_word(value, len, out_size - 1, "-_.:+"))
		return false;
	memcpy(out, value, len);
	out[len] = '\0';
	*cursor = value + len;
	return true;
}

static DpKmsUriResult
parse_pkcs11(const char *text, DpKmsUri *out, const char **out_problem)
{
	const char *cursor = text + strlen(PKCS11_PREFIX);

	*out_problem = "Expected pkcs11:token=LABEL;object=LABEL[;serial=SERIAL], of letters, digits and - _ . : +.";
	if (!parse_pkcs11_attribute(&cursor, "token=", out->token, sizeof(out->token)) ||
		!parse_pkcs11_attribute(&cursor, ";object=", out->name, 65))
		return DP_KMS_URI_MALFORMED;
	if (*cursor != '\0' && !parse_pkcs11_attribute(&cursor, ";serial=", out->serial, sizeof(out->serial)))
		return DP_KMS_URI_MALFORMED;
	return *cursor == '\0' ? DP_KMS_URI_OK : DP_KMS_URI_MALFORMED;
}

static DpKmsUriResult
parse_hcvault(const char *text, DpKmsUri *out, const char **out_problem)
{
	const char *path = text + strlen(HCVAULT_PREFIX);
	const char *component = path;
	int			n = 0;

	*out_problem = "Expected hcvault://MOUNT/KEY, of letters, digits and - _ .";
	for (;;)
	{
		size_t		len = strcspn(component, "/");

		/* neither "." nor ".." */
		if (!is_word(component, len, 128, "-_.") || component[0] == '.')
			return DP_KMS_URI_MALFORMED;
		n++;
		if (component[len] == '\0')
			break;
		component += len + 1;
	}
	if (n < 2)
		return DP_KMS_URI_MALFORMED;
	memcpy(out->name, path, strlen(path) + 1);
	return DP_KMS_URI_OK;
}

static DpKmsUriResult
parse_kmip(const char *text, DpKmsUri *out, const char **out_problem)
{
	const char *name = text + strlen(KMIP_PREFIX);

	*out_problem = "Expected kmip://UNIQUE-IDENTIFIER, of letters, digits and the characters - _ . and : only.";
	if (!is_word(name, strlen(name), 128, "-_.:"))
		return DP_KMS_URI_MALFORMED;
	memcpy(out->name, name, strlen(name) + 1);
	return DP_KMS_URI_OK;
}

DpKmsUriResult
dp_kms_uri_parse(const char *text, DpKmsUri *out, const char **out_problem)
{
	size_t		scheme_len = strcspn(text, ":");

	memset(out, 0, sizeof(*out));
	*out_problem = NULL;

	if (strlen(text) >= DP_KMS_URI_MAX)
	{
		*out_problem = "A key URI has at most 511 bytes.";
		return DP_KMS_URI_MALFORMED;
	}
	memcpy(out->text, text, strlen(text) + 1);

	if (starts_with(text, FILE_PREFIX))
	{
		out->scheme = DP_KMS_SCHEME_FILE;
		return parse_file(text, out, out_problem);
	}
	if (starts_with(text, AWS_PREFIX))
	{
		out->scheme = DP_KMS_SCHEME_AWS;
		return parse_aws(text, out, out_problem);
	}

	if (starts_with(text, HCVAULT_PREFIX))
	{
		out->scheme = DP_KMS_SCHEME_HCVAULT;
		return parse_hcvault(text, out, out_problem);
	}
	if (starts_with(text, KMIP_PREFIX))
	{
		out->scheme = DP_KMS_SCHEME_KMIP;
		return parse_kmip(text, out, out_problem);
	}
	if (starts_with(text, PKCS11_PREFIX))
	{
		out->scheme = DP_KMS_SCHEME_PKCS11;
		return parse_pkcs11(text, out, out_problem);
	}

	if (text[scheme_len] == ':' && is_alpha(text[0]) &&
		is_word(text, scheme_len, 32, "+.-") &&
		!starts_with(text, "file:") && !starts_with(text, "aws-kms:") && !starts_with(text, "hcvault:") &&
		!starts_with(text, "kmip:"))
	{
		*out_problem = "This release supports aws-kms://, hcvault://, kmip://, pkcs11: and file:// only.";
		return DP_KMS_URI_UNSUPPORTED;
	}
	*out_problem = "A key URI begins with aws-kms://, hcvault://, kmip://, pkcs11: or file:///.";
	return DP_KMS_URI_MALFORMED;
}

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Next pattern at *cursor, without white space around it; false at the end. */
static bool
next_pattern(const char **cursor, const char **out_start, size_t *out_len)
{
	while (**cursor != '\0')
	{
		const char *start = *cursor;
		size_t		len = strcspn(start, ",");

		*cursor = start + len + (start[len] == ',' ? 1 : 0);
		while (len > 0 && is_space(start[0]))
		{
			start++;
			len--;
		}
		while (len > 0 && is_space(start[len - 1]))
			len--;
		if (len > 0)
		{
			*out_start = start;
			*out_len = len;
			return true;
		}
	}
	return false;
}

bool
dp_kms_uri_allowed(const char *patterns, const char *uri)
{
	const char *start;
	size_t		len;
	size_t		uri_len = strlen(uri);

	if (patterns == NULL)
		return false;
	while (next_pattern(&patterns, &start, &len))
	{
		const char *star = memchr(start, '*', len);

		if (star == NULL)
		{
			if (len == uri_len && memcmp(start, uri, len) == 0)
				return true;
		}
		else if (star == start + len - 1 && uri_len >= len - 1 &&
				 memcmp(start, uri, len - 1) == 0)
			return true;
	}
	return false;
}

bool
dp_kms_patterns_valid(const char *patterns, const char **out_start, size_t *out_len)
{
	if (patterns == NULL)
		return true;
	while (next_pattern(&patterns, out_start, out_len))
	{
		const char *star = memchr(*out_start, '*', *out_len);

		if (star != NULL && star != *out_start + *out_len - 1)
			return false;
	}
	return true;
}

/* The host names and addresses that never leave this machine. */
static bool
is_loopback(const char *host, size_t len)
{
	int			octets = 1;

	if ((len == 9 && memcmp(host, "localhost", 9) == 0) ||
		(len == 5 && memcmp(host, "[::1]", 5) == 0))
		return true;
	if (len < 9 || len > 15 || memcmp(host, "127.", 4) != 0)
		return false;
	/* 127.x.y.z in digits: a name such as 127.example.com is not loopback. */
	for (size_t i = 0; i < len; i++)
	{
		if (host[i] == '.')
		{
			octets++;
			if (i + 1 == len || host[i + 1] == '.')
				return false;
		}
		else if (!is_digit(host[i]))
			return false;
	}
	return octets == 4;
}

bool
dp_kms_endpoint_valid(const char *endpoint, bool *out_loopback)
{
	bool		tls = starts_with(endpoint, "https://");
	const char *host;
	const char *rest;
	size_t		host_len;

	*out_loopback = false;
	if (!tls && !starts_with(endpoint, "http://"))
		return false;
	host = endpoint + (tls ? strlen("https://") : strlen("http://"));

	if (host[0] == '[')
	{
		host_len = strspn(host + 1, "0123456789abcdefABCDEF:.") + 1;
		if (host_len < 3 || host[host_len] != ']')
			return false;
		host_len++;
	}
	else
	{
		host_len = strcspn(host, ":/");
		if (!is_word(host, host_len, 253, ".-"))
			return false;
	}

	rest = host + host_len;
	if (*rest == ':')
	{
		size_t		digits = strspn(rest + 1, "0123456789");

		if (digits == 0 || digits > 5)
			return false;
		rest += 1 + digits;
	}
	if (*rest != '\0' && strcmp(rest, "/") != 0)
		return false;

	*out_loopback = is_loopback(host, host_len);
	return tls || *out_loopback;
}
