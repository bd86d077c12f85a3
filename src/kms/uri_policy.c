/*
 * uri_policy.c
 *	  Which URIs may be used at all; what dataprotect.kms_* settings are worth.
 */
#include "postgres.h"

#include "base/guc.h"
#include "kms/uri_policy.h"
#include "mb/pg_wchar.h"

/* What to call a URI in a message: of an unsupported one only the scheme, since
 * others may carry a PIN. */
static char *
scheme_of(const char *uri)
{
	return pnstrdup(uri, Min(strcspn(uri, ":"), 32));
}

/* So much of a malformed URI is shown: of a token's, nothing behind the scheme. */
static int
shown_len(const char *uri)
{
	return strncmp(uri, "pkcs11:", 7) == 0 ? 7 : pg_mbcliplen(uri, strlen(uri), 100);
}

bool
dp_kms_endpoint_usable(const char **out_problem)
{
	bool		loopback;

	if (dp_guc_kms_aws_endpoint == NULL || dp_guc_kms_aws_endpoint[0] == '\0' ||
		dp_kms_endpoint_valid(dp_guc_kms_aws_endpoint, &loopback))
		return true;
	*out_problem = "The setting dataprotect.kms_aws_endpoint must be https://HOST[:PORT], "
		"or http:// with a loopback address.";
	return false;
}

/* What the server was started with as its default is not named a second time. */
bool
dp_kms_uri_permitted(const char *uri)
{
	return dp_kms_uri_allowed(dp_guc_kms_allowed, uri) ||
		(uri[0] != '\0' && strcmp(uri, dp_guc_start_kms_uri) == 0);
}

void
dp_kms_check_uri(const char *uri)
{
	DpKmsUri	parsed;
	const char *problem;

	switch (dp_kms_uri_parse(uri, &parsed, &problem))
	{
		case DP_KMS_URI_OK:
			break;
		case DP_KMS_URI_MALFORMED:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid KMS URI \"%.*s\"", shown_len(uri), uri),
					 errdetail_internal("%s", problem),
					 errhint("Write for example aws-kms://alias/pii?region=eu-central-1 or file:///etc/dataprotect/root.key.")));
			break;
		case DP_KMS_URI_UNSUPPORTED:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("KMS scheme \"%s\" is not supported", scheme_of(uri)),
					 errdetail_internal("%s", problem),
					 errhint("The schemes are aws-kms://, hcvault://, kmip://, pkcs11: and file:///.")));
			break;
	}

	if (!dp_kms_uri_permitted(uri))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("KMS URI \"%s\" is not allowed on this server", uri),
				 errdetail("No pattern of dataprotect.kms_allowed matches it."),
				 errhint("Add it, or a prefix of it followed by *, to dataprotect.kms_allowed in postgresql.conf and restart the server.")));

	if (parsed.scheme == DP_KMS_SCHEME_AWS && !dp_kms_endpoint_usable(&problem))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("KMS URI \"%s\" has no usable endpoint", uri),
				 errdetail_internal("%s", problem)));
}

void
dp_kms_check_settings(void)
{
	const char *pattern;
	const char *problem;
	size_t		len;

	if (!dp_kms_patterns_valid(dp_guc_kms_allowed, &pattern, &len))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("pattern \"%.*s\" in dataprotect.kms_allowed matches nothing", (int) len, pattern),
				 errdetail("A \"*\" counts only as the last character of a pattern.")));
	if (!dp_kms_endpoint_usable(&problem))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the endpoint of AWS KMS is not usable"),
				 errdetail_internal("%s", problem)));
}
