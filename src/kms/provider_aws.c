/*
 * provider_aws.c
 *	  aws-kms://: the JSON protocol of AWS KMS (TrentService).
 *
 * Decrypt names the root where the URI is an ARN or a key id, so that a blob of
 * another root is refused.  Where it is an alias it does not: an alias may have
 * moved since, and the blob itself names the root that it was made with.
 *
 * The encryption context is what DpKmsContext holds, as strings; it shows up in
 * CloudTrail and may be used in key policies:
 *		dataprotect:database	uid of the database's instance
 *		dataprotect:key_id		16 hexadecimal digits
 *		dataprotect:version		number of the epoch
 *		dataprotect:purpose		"epoch"
 *
 * Destruction is DescribeKey, which resolves an alias and names the replicas of a
 * multi-Region key, then ScheduleKeyDeletion for each replica, in its own region,
 * and last for the key itself: AWS keeps a primary until its replicas are gone.
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/secret.h"
#include "kms/aws_credentials.h"
#include "kms/provider.h"
#include "kms/reply.h"
#include "kms/transfer.h"

#define WHO "The KMS"

/* What destroying a multi-Region key goes through. */
typedef struct Destruction
{
	char		key[DP_KMS_URI_MAX];	/* ARN */
	int			n_replicas;
	char		replicas[DP_KMS_REPLY_LIST][DP_KMS_URI_MAX];
	int			next;			/* n_replicas: the key itself */
} Destruction;

static void dispatch(DpKmsTransfer *transfer);
static void send_request(DpKmsTransfer *transfer, const char *action, const char *region, DpKmsSettle settle);

/* What a type of error means to us. */
static const struct
{
	const char *type;
	DpKmsCallStatus status;
	int			sqlstate;
}			error_types[] =

{
	{"ThrottlingException", DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE},
	{"LimitExceededException", DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE},
	{"KMSInternalException", DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE},
	{"InternalFailure", DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE},
	{"ServiceUnavailable", DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE},
	{"DependencyTimeoutException", DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE},
	{"KeyUnavailableException", DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE},
	{"NotFoundException", DP_KMS_REFUSED, ERRCODE_UNDEFINED_OBJECT},
	{"DisabledException", DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{"KMSInvalidStateException", DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{"InvalidKeyUsageException", DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{"InvalidCiphertextException", DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED},
	{"IncorrectKeyException", DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED},
	{"ValidationException", DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION},
	{"UnsupportedOperationException", DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{"KMSInvalidSignatureException", DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED},
	{"InvalidArnException", DP_KMS_REFUSED, ERRCODE_INVALID_PARAMETER_VALUE}
};

static const char *
purpose_name(DpKeyPurpose purpose)
{
	switch (purpose)
	{
		case DP_PURPOSE_EPOCH:
			return "epoch";
		case DP_PURPOSE_DATA:
			return "data";
		case DP_PURPOSE_SUBJECT:
			return "subject";
		case DP_PURPOSE_PRF:
			return "prf";
		case DP_PURPOSE_LITERAL:
			return "literal";
		case DP_PURPOSE_AUDIT_SEAL:
			return "audit_seal";
		case DP_PURPOSE_AUDIT_CHAIN:
			return "audit_chain";
		case DP_PURPOSE_POLICY:
			return "policy";
	}
	return "unknown";
}

/* The encryption context, as a member of the request's object. */
static void
build_context(const DpKmsContext *context, char *out, Size out_size)
{
	const uint8 *uid = context->database_uid;

	snprintf(out, out_size,
			 "\"EncryptionContext\":{"
			 "\"dataprotect:database\":\"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\","
			 "\"dataprotect:key_id\":\"%016llx\",\"dataprotect:version\":\"%d\",\"dataprotect:purpose\":\"%s\"}",
			 uid[0], uid[1], uid[2], uid[3], uid[4], uid[5], uid[6], uid[7],
			 uid[8], uid[9], uid[10], uid[11], uid[12], uid[13], uid[14], uid[15],
			 (unsigned long long) context->key_id, (int) context->version,
			 purpose_name(context->purpose));
}

/*
 * Compose a request that wraps or unwraps.  Nothing in it needs escaping: the
 * root's name has passed the URI parser, the rest is ours.  False where it does not
 * fit.
 */
static bool
build_body(DpKmsTransfer *transfer)
{
	const DpKmsCall *call = transfer->call;
	const DpKmsUri *uri = call->uri;
	char		secret[DP_BASE64_ROOM(DP_KEY_LEN)];
	char		blob[DP_BASE64_ROOM(DP_KMS_BLOB_MAX)];
	char		context[256];
	int			n;

	build_context(call->context, context, sizeof(context));
	if (call->operation == DP_KMS_OP_WRAP)
	{
		dp_kms_encode(call->key, DP_KEY_LEN, secret, sizeof(secret));
		n = snprintf(transfer->body, DP_KMS_BODY_MAX, "{\"KeyId\":\"%s\",\"Plaintext\":\"%s\",%s}",
					 uri->name, secret, context);
		dp_secret_wipe(secret, sizeof(secret));
	}
	else
	{
		if (call->blob.len <= 0 || call->blob.len > DP_KMS_BLOB_MAX)
			return false;
		dp_kms_encode(call->blob.data, call->blob.len, blob, sizeof(blob));
		if (uri->by_alias)
			n = snprintf(transfer->body, DP_KMS_BODY_MAX, "{\"CiphertextBlob\":\"%s\",%s}", blob, context);
		else
			n = snprintf(transfer->body, DP_KMS_BODY_MAX, "{\"CiphertextBlob\":\"%s\",\"KeyId\":\"%s\",%s}",
						 blob, uri->name, context);
	}
	return n > 0 && n < DP_KMS_BODY_MAX;
}

/* Our own endpoint where one is set, else Amazon's for the region. */
static void
build_url(const char *region, char *out, Size out_size, bool *out_loopback)
{
	*out_loopback = false;
	if (dp_guc_kms_aws_endpoint != NULL && dp_guc_kms_aws_endpoint[0] != '\0')
	{
		Size		len = strlen(dp_guc_kms_aws_endpoint);

		(void) dp_kms_endpoint_valid(dp_guc_kms_aws_endpoint, out_loopback);
		snprintf(out, out_size, "%s%s", dp_guc_kms_aws_endpoint,
				 dp_guc_kms_aws_endpoint[len - 1] == '/' ? "" : "/");
	}
	else
		snprintf(out, out_size, "https://kms.%s.amazonaws.com%s/", region,
				 strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

/*
 * A reply that is no success: by its type, or by its status where it has none.
 * Only the type is shown, never the message, and only if it is a plain word.
 */
static void
settle_error(DpKmsCall *call, long status, const char *type)
{
	if (type == NULL || type[0] == '\0' ||
		strspn(type, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != strlen(type) ||
		strlen(type) > 64)
	{
		bool		passing = status >= 500 || status == 429;

		dp_kms_call_fail(call, passing ? DP_KMS_UNAVAILABLE : DP_KMS_REFUSED,
						 passing ? ERRCODE_CONNECTION_FAILURE : ERRCODE_PROTOCOL_VIOLATION,
						 "The KMS returned HTTP status %ld.", status);
		return;
	}

	if (strcmp(type, "ExpiredTokenException") == 0 || strcmp(type, "UnrecognizedClientException") == 0 ||
		strcmp(type, "InvalidClientTokenId") == 0)
		dp_aws_credentials_refused();
	if (strcmp(type, "InvalidSignatureException") == 0 || strcmp(type, "SignatureDoesNotMatch") == 0 ||
		strcmp(type, "RequestExpired") == 0)
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INSUFFICIENT_PRIVILEGE,
						 "The KMS returned HTTP status %ld, %s: the secret key is wrong, or this machine's clock is off by minutes.",
						 status, type);
		return;
	}
	for (int i = 0; i < lengthof(error_types); i++)
	{
		if (strcmp(type, error_types[i].type) == 0)
		{
			dp_kms_call_fail(call, error_types[i].status, error_types[i].sqlstate,
							 "The KMS returned HTTP status %ld, %s.", status, type);
			return;
		}
	}
	/* AccessDenied, UnrecognizedClient, ExpiredToken, IncompleteSignature, ... */
	if (status >= 500 || status == 429)
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 "The KMS returned HTTP status %ld, %s.", status, type);
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INSUFFICIENT_PRIVILEGE,
						 "The KMS returned HTTP status %ld, %s.", status, type);
}

/* ---- requests and replies ---- */

/*
 * The members wanted of a reply that is a success.  False otherwise, and the call has
 * ended; or, where not_found is not NULL, only *not_found is set: there is no such root.
 */
static bool
read_reply(DpKmsTransfer *transfer, long status, char *text, Size len,
		   DpKmsMember *members, int n_members, bool *not_found)
{
	DpKmsCall  *call = transfer->call;
	DpKmsMember type[] = {{"__type"}};

	if (status != 200)
	{
		const char *bare = dp_kms_reply_parse(text, len, type, 1) && type[0].value != NULL ?
			dp_kms_reply_bare_type(type[0].value) : NULL;

		if (not_found != NULL && bare != NULL && strcmp(bare, "NotFoundException") == 0)
			*not_found = true;
		else
			settle_error(call, status, bare);
		return false;
	}
	if (dp_kms_reply_parse(text, len, members, n_members))
		return true;
	dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
					 "The reply of the KMS is not the JSON object expected.");
	return false;
}

/* Of the one member that an action answers with. */
static void
settle_crypt(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	DpKmsCall  *call = transfer->call;
	DpKmsMember wanted[] = {{"CiphertextBlob"}, {"Plaintext"}, {"Signature"}, {"PublicKey"}};
	uint8		key[DP_KMS_PUBLIC_KEY_MAX];
	bool		ok = false;

	if (!read_reply(transfer, status, text, len, wanted, lengthof(wanted), NULL))
		return;
	switch (call->operation)
	{
		case DP_KMS_OP_WRAP:
			call->blob.len = dp_kms_decode(wanted[0].value, call->blob.data, DP_KMS_BLOB_MAX);
			ok = call->blob.len > 0;
			break;
		case DP_KMS_OP_UNWRAP:
			ok = dp_kms_decode(wanted[1].value, call->key, DP_KEY_LEN) == DP_KEY_LEN;
			break;
		case DP_KMS_OP_SIGN:
			call->signature->len = dp_kms_decode(wanted[2].value, call->signature->signature, DP_KMS_SIGNATURE_MAX);
			ok = call->signature->len > 0;
			break;
		case DP_KMS_OP_PUBLIC_KEY:
			ok = dp_kms_call_public_key(call, key, dp_kms_decode(wanted[3].value, key, sizeof(key)));
			break;
		case DP_KMS_OP_STATE:
		case DP_KMS_OP_DESTROY:
		case DP_KMS_OP_MAKE:
			break;
	}
	if (ok)
		call->status = DP_KMS_OK;
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The reply of the KMS does not hold what was asked for.");
}

static const char *
signing_name(DpSignatureAlgorithm algorithm)
{
	switch (algorithm)
	{
		case DP_SIGNATURE_ED25519:
			return "ED25519_SHA_512";
		case DP_SIGNATURE_RSA_PSS_SHA256:
			return "RSASSA_PSS_SHA_256";
		case DP_SIGNATURE_ECDSA_SHA256:
			return "ECDSA_SHA_256";
		case DP_SIGNATURE_ECDSA_SHA384:
			return "ECDSA_SHA_384";
		case DP_SIGNATURE_ECDSA_SHA512:
			return "ECDSA_SHA_512";
		case DP_SIGNATURE_NONE:
			break;
	}
	return "";
}

/* ---- a root's state, and its end ---- */

/* Is this an ARN of a key by the grammar of our URIs?  It is put into requests and out_uri. */
static bool
is_key_arn(const char *arn, DpKmsUri *out)
{
	char		text[DP_KMS_URI_MAX];
	const char *problem;

	return arn != NULL && snprintf(text, sizeof(text), "aws-kms://%s", arn) < sizeof(text) &&
		dp_kms_uri_parse(text, out, &problem) == DP_KMS_URI_OK && !out->by_alias &&
		strncmp(out->name, "arn:", 4) == 0;
}

static DpKmsRootState
root_state(const char *state)
{
	static const struct
	{
		const char *name;
		DpKmsRootState state;
	}			states[] =

	{
		{"Enabled", DP_KMS_ROOT_ENABLED},
		{"Updating", DP_KMS_ROOT_ENABLED},
		{"Disabled", DP_KMS_ROOT_DISABLED},
		{"Creating", DP_KMS_ROOT_DISABLED},
		{"PendingImport", DP_KMS_ROOT_DISABLED},
		{"Unavailable", DP_KMS_ROOT_DISABLED},
		{"PendingDeletion", DP_KMS_ROOT_PENDING},
		{"PendingReplicaDeletion", DP_KMS_ROOT_PENDING}
	};

	for (int i = 0; state != NULL && i < lengthof(states); i++)
	{
		if (strcmp(state, states[i].name) == 0)
			return states[i].state;
	}
	return DP_KMS_ROOT_UNKNOWN;
}

enum
{
	METADATA_ARN,
	METADATA_STATE,
	METADATA_DELETION,
	METADATA_PRIMARY,
	METADATA_REPLICAS,
	METADATA_N
};

/* DescribeKey's reply; false, and the call has ended, where there is none to go on with. */
static bool
read_metadata(DpKmsTransfer *transfer, long status, char *text, Size len, DpKmsMember *wanted, DpKmsUri *out_key)
{
	static const char *const paths[METADATA_N] = {
		"KeyMetadata.Arn", "KeyMetadata.KeyState", "KeyMetadata.DeletionDate",
		"KeyMetadata.MultiRegionConfiguration.PrimaryKey.Arn",
		"KeyMetadata.MultiRegionConfiguration.ReplicaKeys.[].Arn"
	};
	DpKmsCall  *call = transfer->call;
	bool		not_found = false;

	for (int i = 0; i < METADATA_N; i++)
		wanted[i].path = paths[i];
	if (!read_reply(transfer, status, text, len, wanted, METADATA_N, &not_found))
	{
		/* An alias goes with its key, or has moved: it proves nothing. */
		if (not_found && call->uri->by_alias)
			settle_error(call, status, "NotFoundException");
		else if (not_found)
			dp_kms_call_root(call, DP_KMS_ROOT_DELETED, 0, NULL);
		return false;
	}
	if (is_key_arn(wanted[METADATA_ARN].value, out_key))
		return true;
	dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
					 "The reply of the KMS does not hold what was asked for.");
	return false;
}

static void
settle_state(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	DpKmsMember wanted[METADATA_N];
	DpKmsUri	key;
	const char *deletion;

	if (!read_metadata(transfer, status, text, len, wanted, &key))
		return;
	deletion = wanted[METADATA_DELETION].value;
	dp_kms_call_root(transfer->call, root_state(wanted[METADATA_STATE].value),
					 deletion != NULL ? strtoll(deletion, NULL, 10) : 0, key.text);
}

static void settle_scheduled(DpKmsTransfer *transfer, long status, char *text, Size len);

static void
schedule_next(DpKmsTransfer *transfer)
{
	Destruction *plan = (Destruction *) transfer->own;
	bool		last = plan->next == plan->n_replicas;
	const char *arn = last ? plan->key : plan->replicas[plan->next];
	DpKmsUri	key;

	(void) is_key_arn(arn, &key);	/* it was one */
	snprintf(transfer->body, DP_KMS_BODY_MAX, "{\"KeyId\":\"%s\",\"PendingWindowInDays\":%d}", strrchr(arn, '/') + 1,
			 Max(7, Min(30, transfer->call->days)));
	send_request(transfer, "ScheduleKeyDeletion", key.region, settle_scheduled);
}

static void
settle_scheduled(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	Destruction *plan = (Destruction *) transfer->own;
	DpKmsMember type[] = {{"__type"}};

	/* A replica that is pending or gone is as it should be. */
	if (status != 200)
	{
		const char *bare = dp_kms_reply_parse(text, len, type, 1) && type[0].value != NULL ?
			dp_kms_reply_bare_type(type[0].value) : "";

		if (plan->next == plan->n_replicas ||
			(strcmp(bare, "KMSInvalidStateException") != 0 && strcmp(bare, "NotFoundException") != 0))
		{
			settle_error(transfer->call, status, bare);
			return;
		}
	}
	if (plan->next == plan->n_replicas)
		transfer->call->status = DP_KMS_OK;
	else
	{
		plan->next++;
		schedule_next(transfer);
	}
}

static void
settle_described(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	Destruction *plan = (Destruction *) transfer->own;
	DpKmsMember wanted[METADATA_N];
	DpKmsUri	key;
	const char *primary;

	if (!read_metadata(transfer, status, text, len, wanted, &key))
		return;
	primary = wanted[METADATA_PRIMARY].value;
	if (primary != NULL && strcmp(primary, key.name) != 0)
	{
		dp_kms_call_fail(transfer->call, DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						 "The key is a replica of a multi-Region key, which opens what it opens: have the primary destroyed.");
		return;
	}
	strlcpy(plan->key, key.name, sizeof(plan->key));
	for (int i = 0; i < wanted[METADATA_REPLICAS].n; i++)
	{
		DpKmsUri	replica;

		if (!is_key_arn(wanted[METADATA_REPLICAS].list[i], &replica))
			return;				/* no answer that we understand */
		strlcpy(plan->replicas[plan->n_replicas++], replica.name, DP_KMS_URI_MAX);
	}
	schedule_next(transfer);
}

/* ---- the provider ---- */

/* Send transfer->body, signed, to the KMS of a region. */
static void
send_request(DpKmsTransfer *transfer, const char *action, const char *region, DpKmsSettle settle)
{
	transfer->words[0] = action;
	strlcpy(transfer->region, region, sizeof(transfer->region));
	transfer->next_settle = settle;
	dispatch(transfer);
}

/* With the credentials of now, or when there are some. */
static void
dispatch(DpKmsTransfer *transfer)
{
	const char *problem;
	const char *region = transfer->region;
	const DpAwsCredentials *credentials;
	DpHttpRequest request = {0};
	char		url[DP_KMS_URI_MAX];
	char		sigv4[DP_KMS_REGION_MAX + 16];
	char		target[64];
	char		token[sizeof(credentials->session_token) + 32];
	const char *headers[4] = {"Content-Type: application/x-amz-json-1.1", target, NULL, NULL};

	switch (dp_aws_credentials_get(&credentials, &problem))
	{
		case DP_AWS_READY:
			break;
		case DP_AWS_FETCHING:
			dp_kms_transfer_park(transfer, &dp_aws_credentials_parking, dispatch);
			return;
		case DP_AWS_UNREACHABLE:
			dp_kms_call_fail(transfer->call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE, "%s", problem);
			dp_kms_transfer_failed(transfer);
			return;
		case DP_AWS_NONE:
			dp_kms_call_fail(transfer->call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR, "%s", problem);
			dp_kms_transfer_failed(transfer);
			return;
	}
	build_url(region, url, sizeof(url), &request.loopback);
	snprintf(sigv4, sizeof(sigv4), "aws:amz:%s:kms", region);
	snprintf(target, sizeof(target), "X-Amz-Target: TrentService.%s", transfer->words[0]);
	if (credentials->session_token[0] != '\0')
	{
		snprintf(token, sizeof(token), "X-Amz-Security-Token: %s", credentials->session_token);
		headers[2] = token;
	}
	request.url = url;
	request.headers = headers;
	request.sigv4 = sigv4;
	request.access_key = credentials->access_key;
	request.secret_key = credentials->secret_key;
	dp_kms_transfer_start(transfer, &request);
	dp_secret_wipe(token, sizeof(token));
}

static void
aws_begin(DpKmsCall *call)
{
	const DpKmsUri *uri = call->uri;
	DpKmsTransfer *transfer = dp_kms_transfer_new(call, WHO, call->operation == DP_KMS_OP_DESTROY ? sizeof(Destruction) : 0);
	char		digest[DP_BASE64_ROOM(DP_KMS_DIGEST_LEN)];

	if (transfer == NULL)
		return;
	switch (call->operation)
	{
		case DP_KMS_OP_WRAP:
		case DP_KMS_OP_UNWRAP:
			if (build_body(transfer))
				send_request(transfer, call->operation == DP_KMS_OP_WRAP ? "Encrypt" : "Decrypt", uri->region, settle_crypt);
			else
			{
				dp_kms_transfer_release(transfer);
				dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
								 "The wrapped key has an impossible length.");
			}
			break;
		case DP_KMS_OP_PUBLIC_KEY:
			snprintf(transfer->body, DP_KMS_BODY_MAX, "{\"KeyId\":\"%s\"}", uri->name);
			send_request(transfer, "GetPublicKey", uri->region, settle_crypt);
			break;
		case DP_KMS_OP_SIGN:
			dp_kms_encode(call->digest, DP_KMS_DIGEST_LEN, digest, sizeof(digest));
			snprintf(transfer->body, DP_KMS_BODY_MAX,
					 "{\"KeyId\":\"%s\",\"Message\":\"%s\",\"MessageType\":\"RAW\",\"SigningAlgorithm\":\"%s\"}",
					 uri->name, digest, signing_name(call->signature->algorithm));
			send_request(transfer, "Sign", uri->region, settle_crypt);
			break;
		case DP_KMS_OP_STATE:
		case DP_KMS_OP_DESTROY:
			snprintf(transfer->body, DP_KMS_BODY_MAX, "{\"KeyId\":\"%s\"}", uri->name);
			send_request(transfer, "DescribeKey", uri->region,
						 call->operation == DP_KMS_OP_STATE ? settle_state : settle_described);
			break;
		case DP_KMS_OP_MAKE:
			dp_kms_transfer_release(transfer);
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED,
							 "Roots of this kind are made at the KMS.");
			break;
	}
}

const DpKmsProvider dp_kms_provider_aws = {
	.name = "aws-kms",
	.begin = aws_begin,
	.cancel = dp_kms_transfer_cancel,
	.credentials_expiry = dp_aws_credentials_expiry,
};
