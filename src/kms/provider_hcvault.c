/*
 * provider_hcvault.c
 *	  hcvault://MOUNT/KEY: the transit engine of HashiCorp Vault, or of OpenBao.
 *
 * POST ADDRESS/v1/MOUNT/encrypt/KEY and .../decrypt/KEY.  The context
 * (dp_kms_context_bytes) goes along as associated data, which keys of the types
 * aes256-gcm96 and chacha20-poly1305 authenticate.  What is stored is Vault's own
 * text, "vault:v1:...".
 *
 * The token is read from its file for each call, so that one that an agent of
 * Vault's renews takes effect at once.
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/secret.h"
#include "common/base64.h"
#include "kms/http.h"
#include "kms/provider.h"
#include "kms/reply.h"
#include "kms/secret_file.h"

#define BASE64_ROOM(len) (((len) + 2) / 3 * 4 + 1)
#define BODY_MAX	2048
#define TOKEN_MAX	1024
#define PREFIX		"vault:v"

typedef struct VaultTransfer
{
	DpKmsCall  *call;
	DpHttpTransfer *http;
	bool		wrap;
	char		body[BODY_MAX];
} VaultTransfer;

static void
release(VaultTransfer *transfer)
{
	transfer->call->transfer = NULL;
	if (transfer->http != NULL)
		dp_http_free(transfer->http);
	dp_secret_wipe(transfer->body, sizeof(transfer->body));
	free(transfer);
}

/* Text of Vault's that stands in JSON and in the catalog as it is. */
static bool
is_ciphertext(const char *text, Size len)
{
	if (len <= strlen(PREFIX) || len > DP_KMS_BLOB_MAX || memcmp(text, PREFIX, strlen(PREFIX)) != 0)
		return false;
	for (Size i = 0; i < len; i++)
	{
		char		c = text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			  (c != '\0' && strchr(":+/=-_", c) != NULL)))
			return false;
	}
	return true;
}

static void
encode(const uint8 *bytes, int len, char *out, int out_size)
{
	int			text_len = pg_b64_encode((const void *) bytes, len, out, out_size - 1);

	out[Max(text_len, 0)] = '\0';
}

/* False where the stored text is none of Vault's. */
static bool
build_body(VaultTransfer *transfer)
{
	const DpKmsCall *call = transfer->call;
	uint8		context[DP_KMS_CONTEXT_LEN];
	char		context_text[BASE64_ROOM(DP_KMS_CONTEXT_LEN)];
	char		secret[BASE64_ROOM(DP_KEY_LEN)];
	int			n;

	dp_kms_context_bytes(call->context, context);
	encode(context, sizeof(context), context_text, sizeof(context_text));
	if (transfer->wrap)
	{
		encode(call->key, DP_KEY_LEN, secret, sizeof(secret));
		n = snprintf(transfer->body, BODY_MAX, "{\"plaintext\":\"%s\",\"associated_data\":\"%s\"}", secret, context_text);
		dp_secret_wipe(secret, sizeof(secret));
	}
	else
	{
		if (!is_ciphertext((const char *) call->blob.data, Max(call->blob.len, 0)))
			return false;
		n = snprintf(transfer->body, BODY_MAX, "{\"ciphertext\":\"%.*s\",\"associated_data\":\"%s\"}",
					 call->blob.len, (const char *) call->blob.data, context_text);
	}
	return n > 0 && n < BODY_MAX;
}

static void
settle_error(VaultTransfer *transfer, long status)
{
	DpKmsCall  *call = transfer->call;

	if (status >= 500 || status == 429 || status == 412 || status == 472 || status == 473)
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 status == 503 ? "Vault is sealed or in maintenance (HTTP status %ld)." :
						 "Vault returned HTTP status %ld.", status);
	else if (status == 403 || status == 401)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INSUFFICIENT_PRIVILEGE,
						 "Vault returned HTTP status %ld: the token has no right on this key, or has expired.", status);
	else if (status == 404 || (status == 400 && transfer->wrap))
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_UNDEFINED_OBJECT,
						 "Vault returned HTTP status %ld: there is no such key, or it seals nothing.", status);
	else if (status == 400)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
						 "Vault returned HTTP status %ld: the wrapped key does not open under this key.", status);
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION, "Vault returned HTTP status %ld.", status);
}

static void
settle_success(VaultTransfer *transfer, const DpKmsReply *reply)
{
	DpKmsCall  *call = transfer->call;
	const char *text = transfer->wrap ? reply->data_ciphertext : reply->data_plaintext;

	if (text == NULL)
		;
	else if (transfer->wrap)
	{
		if (is_ciphertext(text, strlen(text)))
		{
			call->blob.len = (int) strlen(text);
			memcpy(call->blob.data, text, call->blob.len);
			call->status = DP_KMS_OK;
			return;
		}
	}
	else if (pg_b64_decode(text, (int) strlen(text), (void *) call->key, DP_KEY_LEN) == DP_KEY_LEN)
	{
		call->status = DP_KMS_OK;
		return;
	}
	dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
					 "The reply of Vault does not hold what was asked for.");
}

static void
on_done(DpHttpTransfer *http, void *arg)
{
	VaultTransfer *transfer = arg;
	DpKmsReply	reply;
	const char *problem;
	char	   *text;
	Size		len;
	long		status = dp_http_result(http, &text, &len, &problem);

	if (status == 0)
		dp_kms_call_fail(transfer->call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 "Vault could not be asked: %s.", problem);
	else if (status != 200)
		settle_error(transfer, status);
	else if (!dp_kms_reply_parse(text, len, &reply))
		dp_kms_call_fail(transfer->call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The reply of Vault is not the JSON object expected.");
	else
		settle_success(transfer, &reply);
	release(transfer);
}

/* The header with the token; false, and the call has ended, where there is none. */
static bool
read_token(DpKmsCall *call, char *out, Size out_size)
{
	const char *path = dp_guc_kms_vault_token_file;
	uint8		token[TOKEN_MAX];
	int			len;
	bool		ok = true;

	if (path == NULL || path[0] != '/')
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The setting dataprotect.kms_vault_token_file must be the absolute path of a file.");
		return false;
	}
	len = dp_secret_file_read(call, path, "token file", token, 1, sizeof(token));
	if (len < 0)
		return false;
	while (len > 0 && (token[len - 1] == '\n' || token[len - 1] == '\r'))
		len--;
	for (int i = 0; i < len; i++)
		ok &= token[i] > ' ' && token[i] < 0x7f;
	if (ok && len > 0)
		snprintf(out, out_size, "X-Vault-Token: %.*s", len, (const char *) token);
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR, "The token file does not hold one token.");
	dp_secret_wipe(token, sizeof(token));
	return ok && len > 0;
}

/* ADDRESS/v1/MOUNT/VERB/KEY; false, and the call has ended, where no usable address is set. */
static bool
build_url(DpKmsCall *call, bool wrap, char *out, Size out_size, bool *out_loopback)
{
	const char *address = dp_guc_kms_vault_address;
	const char *key = strrchr(call->uri->name, '/');
	Size		len;

	if (address == NULL || !dp_kms_endpoint_valid(address, out_loopback))
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The setting dataprotect.kms_vault_address must be https://HOST[:PORT], or http:// with a loopback address.");
		return false;
	}
	len = strlen(address);
	snprintf(out, out_size, "%s%sv1/%.*s/%s%s", address, address[len - 1] == '/' ? "" : "/",
			 (int) (key - call->uri->name), call->uri->name, wrap ? "encrypt" : "decrypt", key);
	return true;
}

static void
start(DpKmsCall *call, bool wrap)
{
	VaultTransfer *transfer;
	DpHttpRequest request = {0};
	char		url[2 * DP_KMS_URI_MAX];
	char		token[TOKEN_MAX + 32];
	char		namespace[256];
	const char *headers[5] = {"Content-Type: application/json", "X-Vault-Request: true", token, NULL, NULL};

	if (!build_url(call, wrap, url, sizeof(url), &request.loopback) || !read_token(call, token, sizeof(token)))
		return;
	if (dp_guc_kms_vault_namespace != NULL && dp_guc_kms_vault_namespace[0] != '\0')
	{
		snprintf(namespace, sizeof(namespace), "X-Vault-Namespace: %s", dp_guc_kms_vault_namespace);
		headers[3] = namespace;
	}
	transfer = calloc(1, sizeof(*transfer));
	if (transfer == NULL)
	{
		dp_secret_wipe(token, sizeof(token));
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_OUT_OF_MEMORY, "The key agent is out of memory.");
		return;
	}
	transfer->call = call;
	transfer->wrap = wrap;
	call->transfer = transfer;
	if (!build_body(transfer))
	{
		dp_secret_wipe(token, sizeof(token));
		release(transfer);
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED, "The wrapped key was not made by Vault.");
		return;
	}
	request.url = url;
	request.headers = headers;
	request.body = transfer->body;
	request.body_len = strlen(transfer->body);
	request.timeout_ms = call->timeout_ms;
	request.done = on_done;
	request.arg = transfer;
	transfer->http = dp_http_start(&request);
	dp_secret_wipe(token, sizeof(token));
	if (transfer->http == NULL)
	{
		release(transfer);
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_OUT_OF_MEMORY, "The HTTP client could not be started.");
	}
}

static void
hcvault_wrap(DpKmsCall *call)
{
	start(call, true);
}

static void
hcvault_unwrap(DpKmsCall *call)
{
	start(call, false);
}

static void
hcvault_cancel(DpKmsCall *call)
{
	release((VaultTransfer *) call->transfer);
}

const DpKmsProvider dp_kms_provider_hcvault = {
	.name = "hcvault",
	.wrap = hcvault_wrap,
	.unwrap = hcvault_unwrap,
	.cancel = hcvault_cancel,
};
