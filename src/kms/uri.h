/*
 * uri.h
 *	  Key URIs, the patterns that allow them, and KMS endpoints.
 *
 * Free of PostgreSQL, so that it can be fuzzed.  The grammar has exactly one
 * spelling for one key: no percent-encoding, no "." or ".." in a path, no
 * unknown or repeated query parameter.  Otherwise two spellings of one file
 * could fall on both sides of a pattern.
 *
 *	file:///ABSOLUTE/PATH
 *	aws-kms://arn:PARTITION:kms:REGION:ACCOUNT:key/ID[?region=REGION]
 *	aws-kms://arn:PARTITION:kms:REGION:ACCOUNT:alias/NAME[?region=REGION]
 *	aws-kms://alias/NAME?region=REGION
 *	aws-kms://KEY-ID?region=REGION
 *	pkcs11:token=LABEL;object=LABEL[;serial=SERIAL]		(RFC 7512, in this order)
 *	hcvault://MOUNT/KEY		(the mount may have several components)
 *	kmip://UNIQUE-IDENTIFIER
 *
 * Nothing here allocates or fails in another way than by its result.
 */
#ifndef DP_KMS_URI_H
#define DP_KMS_URI_H

#include <stdbool.h>
#include <stddef.h>

#define DP_KMS_URI_MAX		512 /* bytes with the terminator */
#define DP_KMS_REGION_MAX	33
#define DP_KMS_TOKEN_MAX	33	/* of a token's label or serial number */

typedef enum DpKmsScheme
{
	DP_KMS_SCHEME_FILE,
	DP_KMS_SCHEME_AWS,
	DP_KMS_SCHEME_PKCS11,
	DP_KMS_SCHEME_HCVAULT,
	DP_KMS_SCHEME_KMIP
} DpKmsScheme;

typedef struct DpKmsUri
{
	DpKmsScheme scheme;
	char		text[DP_KMS_URI_MAX];	/* as given */
	char		name[DP_KMS_URI_MAX];	/* path of the file; key id, ARN or alias/NAME; label of
										 * the object; MOUNT/KEY; unique identifier */
	char		region[DP_KMS_REGION_MAX];	/* aws-kms only */
	bool		by_alias;		/* aws-kms: an alias may move to another key */
	char		token[DP_KMS_TOKEN_MAX];	/* pkcs11 only */
	char		serial[DP_KMS_TOKEN_MAX];	/* pkcs11 only; "": any */
} DpKmsUri;

typedef enum DpKmsUriResult
{
	DP_KMS_URI_OK,
	DP_KMS_URI_MALFORMED,		/* of a supported scheme, or no URI at all */
	DP_KMS_URI_UNSUPPORTED		/* a scheme we do not know */
} DpKmsUriResult;

/* out_problem: a full sentence; static, set unless the result is OK. */
extern DpKmsUriResult dp_kms_uri_parse(const char *text, DpKmsUri *out,
									   const char **out_problem);

/*
 * True where one of the comma-separated patterns matches the whole URI.  A
 * pattern is a URI, or a prefix of URIs followed by one "*".  White space
 * around a pattern is ignored; a pattern with "*" elsewhere matches nothing.
 */
extern bool dp_kms_uri_allowed(const char *patterns, const char *uri);

/* False where some pattern could never match; *out_start, *out_len point at it. */
extern bool dp_kms_patterns_valid(const char *patterns, const char **out_start,
								  size_t *out_len);

/*
 * True where the endpoint is https://HOST[:PORT], or http:// with a loopback
 * host, with at most one "/" after it: no user, path or query.
 */
extern bool dp_kms_endpoint_valid(const char *endpoint, bool *out_loopback);

#endif							/* DP_KMS_URI_H */
