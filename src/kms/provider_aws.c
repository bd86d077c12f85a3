/*
 * provider_aws.c
 *	  aws-kms://: the JSON protocol of AWS KMS (TrentService), actions Encrypt and
 *	  Decrypt.
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
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/secret.h"
#include "common/base64.h"
#include "kms/aws_credentials.h"
#include "kms/http.h"
#include "kms/provider.h"
#include "kms/reply.h"

/* Base64 of len bytes, and a NUL. */
#define BASE64_ROOM(len) (((len) + 2) / 3 * 4 + 1)

/* Root's name, base64 of the blob, encryption context, and room to spare. */
#define BODY_MAX 4096

typedef struct AwsTransfer
{
	DpKmsCall  *call;
	DpHttpTransfer *http;
	bool		wrap;
	char		body[BODY_MAX];
} AwsTransfer;

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

/* As base64 with a NUL; out has BASE64_ROOM(len) bytes. */
static void
encode(const uint8 *bytes, int len, char *out, int out_size)
{
	/* The cast: pointers to bytes are of another type from 18 on. */
	int			text_len = pg_b64_encode((const void *) bytes, len, out, out_size - 1);

	out[Max(text_len, 0)] = '\0';
}

/*
 * Compose the request.  Nothing in it needs escaping: the root's name has passed
 * the URI parser, the rest is ours.  False where it does not fit.
 */
static bool
build_body(AwsTransfer *transfer)
{
	const DpKmsCall *call = transfer->call;
	const DpKmsUri *uri = call->uri;
	const uint8 *uid = call->context->database_uid;
	char		secret[BASE64_ROOM(DP_KEY_LEN)];
	char		blob[BASE64_ROOM(DP_KMS_BLOB_MAX)];
	char		context[256];
	int			n;

	snprintf(context, sizeof(context),
			 "\"EncryptionContext\":{"
			 "\"dataprotect:database\":\"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\","
			 "\"dataprotect:key_id\":\"%016llx\",\"dataprotect:version\":\"%d\",\"dataprotect:purpose\":\"%s\"}",
			 uid[0], uid[1], uid[2], uid[3], uid[4], uid[5], uid[6], uid[7],
			 uid[8], uid[9], uid[10], uid[11], uid[12], uid[13], uid[14], uid[15],
			 (unsigned long long) call->context->key_id, (int) call->context->version,
			 purpose_name(call->context->purpose));

	if (transfer->wrap)
	{
		encode(call->key, DP_KEY_LEN, secret, sizeof(secret));
		n = snprintf(transfer->body, BODY_MAX, "{\"KeyId\":\"%s\",\"Plaintext\":\"%s\",%s}",
					 uri->name, secret, context);
		dp_secret_wipe(secret, sizeof(secret));
	}
	else
	{
		if (call->blob.len <= 0 || call->blob.len > DP_KMS_BLOB_MAX)
			return false;
		encode(call->blob.data, call->blob.len, blob, sizeof(blob));
		if (uri->by_alias)
			n = snprintf(transfer->body, BODY_MAX, "{\"CiphertextBlob\":\"%s\",%s}", blob, context);
		else
			n = snprintf(transfer->body, BODY_MAX, "{\"CiphertextBlob\":\"%s\",\"KeyId\":\"%s\",%s}",
						 blob, uri->name, context);
	}
	return n > 0 && n < BODY_MAX;
}

/* Our own endpoint where one is set, else Amazon's for the region. */
static void
build_url(const DpKmsUri *uri, char *out, Size out_size, bool *out_loopback)
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
		snprintf(out, out_size, "https://kms.%s.amazonaws.com%s/", uri->region,
				 strncmp(uri->region, "cn-", 3) == 0 ? ".cn" : "");
}

static void
release(AwsTransfer *transfer)
{
	transfer->call->transfer = NULL;
	if (transfer->http != NULL)
		dp_http_free(transfer->http);
	dp_secret_wipe(transfer->body, sizeof(transfer->body));
	free(transfer);
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

/* How many bytes text holds; -1 where it is no base64, or more than fits. */
static int
decode(const char *text, uint8 *out, int out_size)
{
	if (text == NULL)
		return -1;
	return pg_b64_decode(text, (int) strlen(text), (void *) out, out_size);
}

static void
settle_success(AwsTransfer *transfer, const DpKmsReply *reply)
{
	DpKmsCall  *call = transfer->call;
	bool		ok;

	if (transfer->wrap)
	{
		call->blob.len = decode(reply->ciphertext, call->blob.data, DP_KMS_BLOB_MAX);
		ok = call->blob.len > 0;
	}
	else
		ok = decode(reply->plaintext, call->key, DP_KEY_LEN) == DP_KEY_LEN;

	if (ok)
		call->status = DP_KMS_OK;
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The reply of the KMS does not hold what was asked for.");
}

static void
on_done(DpHttpTransfer *http, void *arg)
{
	AwsTransfer *transfer = arg;
	DpKmsCall  *call = transfer->call;
	DpKmsReply	reply;
	const char *problem;
	char	   *text;
	Size		len;
	long		status = dp_http_result(http, &text, &len, &problem);

	if (status == 0)
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 "The KMS could not be asked: %s.", problem);
	else if (!dp_kms_reply_parse(text, len, &reply))
	{
		if (status == 200)
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
							 "The reply of the KMS is not the JSON object expected.");
		else
			settle_error(call, status, NULL);
	}
	else if (status == 200)
		settle_success(transfer, &reply);
	else
		settle_error(call, status, reply.error_type);
	release(transfer);
}

static void
start(DpKmsCall *call, bool wrap)
{
	const char *problem;
	const DpAwsCredentials *credentials = dp_aws_credentials_get(&problem);
	AwsTransfer *transfer;
	DpHttpRequest request = {0};
	char		url[DP_KMS_URI_MAX];
	char		sigv4[DP_KMS_REGION_MAX + 16];
	char		target[64];
	char		token[sizeof(credentials->session_token) + 32];
	const char *headers[4] = {"Content-Type: application/x-amz-json-1.1", target, NULL, NULL};

	if (credentials == NULL)
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR, "%s", problem);
		return;
	}
	transfer = calloc(1, sizeof(*transfer));
	if (transfer == NULL)
	{
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_OUT_OF_MEMORY,
						 "The key agent is out of memory.");
		return;
	}
	transfer->call = call;
	transfer->wrap = wrap;
	call->transfer = transfer;
	if (!build_body(transfer))
	{
		release(transfer);
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
						 "The wrapped key has an impossible length.");
		return;
	}

	build_url(call->uri, url, sizeof(url), &request.loopback);
	snprintf(sigv4, sizeof(sigv4), "aws:amz:%s:kms", call->uri->region);
	snprintf(target, sizeof(target), "X-Amz-Target: TrentService.%s", wrap ? "Encrypt" : "Decrypt");
	if (credentials->session_token[0] != '\0')
	{
		snprintf(token, sizeof(token), "X-Amz-Security-Token: %s", credentials->session_token);
		headers[2] = token;
	}
	request.url = url;
	request.headers = headers;
	request.body = transfer->body;
	request.body_len = strlen(transfer->body);
	request.timeout_ms = call->timeout_ms;
	request.sigv4 = sigv4;
	request.access_key = credentials->access_key;
	request.secret_key = credentials->secret_key;
	request.done = on_done;
	request.arg = transfer;

	transfer->http = dp_http_start(&request);
	dp_secret_wipe(token, sizeof(token));
	if (transfer->http == NULL)
	{
		release(transfer);
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_OUT_OF_MEMORY,
						 "The HTTP client could not be started.");
	}
}

static void
aws_wrap(DpKmsCall *call)
{
	start(call, true);
}

static void
aws_unwrap(DpKmsCall *call)
{
	start(call, false);
}

static void
aws_cancel(DpKmsCall *call)
{
	release((AwsTransfer *) call->transfer);
}

const DpKmsProvider dp_kms_provider_aws = {
	.name = "aws-kms",
	.wrap = aws_wrap,
	.unwrap = aws_unwrap,
	.cancel = aws_cancel,
};
