/*
 * provider_hcvault.c
 *	  hcvault://MOUNT/KEY: the transit engine of HashiCorp Vault, or of OpenBao.
 *
 * POST ADDRESS/v1/MOUNT/encrypt/KEY and .../decrypt/KEY.  The context
 * (dp_kms_context_bytes) goes along as associated data, which keys of the types
 * aes256-gcm96 and chacha20-poly1305 authenticate.  What is stored is Vault's own
 * text, "vault:v1:...".
 *
 * Keys of the types ed25519, ecdsa-p* and rsa-* sign (.../sign/KEY); their public keys
 * stand in .../keys/KEY, one a version.  A key is deleted at once, and only after
 * its configuration allows it: Vault knows no waiting period.
 *
 * Tokens come of vault_login.c.
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/secret.h"
#include "kms/provider.h"
#include "kms/reply.h"
#include "kms/transfer.h"
#include "kms/vault_login.h"

#define PREFIX		"vault:v"
#define WHO			"Vault"

static void dispatch(DpKmsTransfer *transfer);
static void settle_or_repeat(DpKmsTransfer *transfer, long status, char *text, Size len);
static void send_request(DpKmsTransfer *transfer, const char *method, const char *part, const char *tail, DpKmsSettle settle);

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

static const char *
hash_name(DpSignatureAlgorithm algorithm)
{
	switch (algorithm)
	{
		case DP_SIGNATURE_ECDSA_SHA384:
			return "sha2-384";
		case DP_SIGNATURE_ECDSA_SHA512:
			return "sha2-512";
		case DP_SIGNATURE_NONE:
		case DP_SIGNATURE_ED25519:
		case DP_SIGNATURE_RSA_PSS_SHA256:
		case DP_SIGNATURE_ECDSA_SHA256:
			break;
	}
	return "sha2-256";
}

/* What is sent to wrap, unwrap or sign.  False where the stored text is none of Vault's. */
static bool
build_body(DpKmsTransfer *transfer)
{
	const DpKmsCall *call = transfer->call;
	uint8		context[DP_KMS_CONTEXT_LEN];
	char		context_text[DP_BASE64_ROOM(DP_KMS_CONTEXT_LEN)];
	char		secret[DP_BASE64_ROOM(DP_KEY_LEN)];
	int			n;

	dp_kms_context_bytes(call->context, context);
	dp_kms_encode(context, sizeof(context), context_text, sizeof(context_text));
	if (call->operation == DP_KMS_OP_WRAP)
	{
		dp_kms_encode(call->key, DP_KEY_LEN, secret, sizeof(secret));
		n = snprintf(transfer->body, DP_KMS_BODY_MAX, "{\"plaintext\":\"%s\",\"associated_data\":\"%s\"}", secret, context_text);
		dp_secret_wipe(secret, sizeof(secret));
	}
	else if (call->operation == DP_KMS_OP_SIGN)
	{
		dp_kms_encode(call->digest, DP_KMS_DIGEST_LEN, secret, sizeof(secret));
		n = snprintf(transfer->body, DP_KMS_BODY_MAX,
					 "{\"input\":\"%s\",\"key_version\":%d,\"hash_algorithm\":\"%s\",\"signature_algorithm\":\"pss\","
					 "\"salt_length\":\"hash\",\"marshaling_algorithm\":\"asn1\"}",
					 secret, call->signature->version, hash_name(call->signature->algorithm));
	}
	else
	{
		if (!is_ciphertext((const char *) call->blob.data, Max(call->blob.len, 0)))
			return false;
		n = snprintf(transfer->body, DP_KMS_BODY_MAX, "{\"ciphertext\":\"%.*s\",\"associated_data\":\"%s\"}",
					 call->blob.len, (const char *) call->blob.data, context_text);
	}
	return n > 0 && n < DP_KMS_BODY_MAX;
}

static void
settle_error(DpKmsCall *call, long status)
{
	bool		opening = call->operation == DP_KMS_OP_UNWRAP;

	if (status >= 500 || status == 429 || status == 412 || status == 472 || status == 473)
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 status == 503 ? "Vault is sealed or in maintenance (HTTP status %ld)." :
						 "Vault returned HTTP status %ld.", status);
	else if (status == 403 || status == 401)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INSUFFICIENT_PRIVILEGE,
						 "Vault returned HTTP status %ld: the token has no right on this key, or has expired.", status);
	else if (status == 404 || (status == 400 && !opening))
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_UNDEFINED_OBJECT,
						 "Vault returned HTTP status %ld: there is no such key, or it is not of the kind that does this.", status);
	else if (status == 400)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
						 "Vault returned HTTP status %ld: the wrapped key does not open under this key.", status);
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION, "Vault returned HTTP status %ld.", status);
}

/* False, and the call has ended, where the reply is no success. */
static bool
read_reply(DpKmsCall *call, long status, char *text, Size len, DpKmsMember *members, int n_members)
{
	if (status != 200)
		settle_error(call, status);
	else if (!dp_kms_reply_parse(text, len, members, n_members))
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The reply of Vault is not the JSON object expected.");
	else
		return true;
	return false;
}

/* "vault:v3:BASE64" of a signature. */
static int
decode_signature(const char *text, uint8 *out, int out_size)
{
	const char *colon;

	if (text == NULL || strncmp(text, PREFIX, strlen(PREFIX)) != 0)
		return -1;
	colon = strchr(text + strlen(PREFIX), ':');
	return colon == NULL ? -1 : dp_kms_decode(colon + 1, out, out_size);
}

static void
settle_crypt(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	DpKmsCall  *call = transfer->call;
	DpKmsMember wanted[] = {{"data.ciphertext"}, {"data.plaintext"}, {"data.signature"}};
	const char *ciphertext;

	if (!read_reply(call, status, text, len, wanted, lengthof(wanted)))
		return;
	ciphertext = wanted[0].value;
	if (call->operation == DP_KMS_OP_WRAP && ciphertext != NULL && is_ciphertext(ciphertext, strlen(ciphertext)))
	{
		call->blob.len = (int) strlen(ciphertext);
		memcpy(call->blob.data, ciphertext, call->blob.len);
		call->status = DP_KMS_OK;
	}
	else if (call->operation == DP_KMS_OP_UNWRAP && dp_kms_decode(wanted[1].value, call->key, DP_KEY_LEN) == DP_KEY_LEN)
		call->status = DP_KMS_OK;
	else if (call->operation == DP_KMS_OP_SIGN)
	{
		call->signature->len = decode_signature(wanted[2].value, call->signature->signature, DP_KMS_SIGNATURE_MAX);
		if (call->signature->len > 0)
			call->status = DP_KMS_OK;
	}
	if (call->status == DP_KMS_PENDING)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The reply of Vault does not hold what was asked for.");
}

/* PEM, or the 32 bytes of an Ed25519 key in base64, as the engine gives them. */
static void
take_public_key(DpKmsCall *call, char *text)
{
	static const char begin[] = "-----BEGIN PUBLIC KEY-----";
	uint8		point[DP_ED25519_PUBLIC_LEN];
	uint8		key[DP_KMS_PUBLIC_KEY_MAX];
	size_t		len = sizeof(key);

	if (strncmp(text, begin, strlen(begin)) == 0)
	{
		char	   *end;

		text += strlen(begin);
		if ((end = strstr(text, "-----END")) != NULL)
		{
			char	   *kept = text;

			/* Decoding takes no line ends. */
			for (char *p = text; p < end; p++)
			{
				if (*p != '\n' && *p != '\r')
					*kept++ = *p;
			}
			*kept = '\0';
			(void) dp_kms_call_public_key(call, key, dp_kms_decode(text, key, sizeof(key)));
		}
	}
	else if (dp_kms_decode(text, point, sizeof(point)) == sizeof(point) && dp_public_key_ed25519(point, key, &len))
		(void) dp_kms_call_public_key(call, key, (int) len);
}

/* The key's description: read twice, since the version's name comes out of it. */
static void
settle_public_key(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	DpKmsCall  *call = transfer->call;
	DpKmsMember latest[] = {{"data.latest_version"}};
	char		path[64];
	DpKmsMember wanted[] = {{path}};
	char	   *copy = malloc(len + 1);

	if (copy == NULL)
	{
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_OUT_OF_MEMORY, "The key agent is out of memory.");
		return;
	}
	memcpy(copy, text, len);
	if (read_reply(call, status, text, len, latest, 1))
	{
		if (call->signature->version == 0 && latest[0].value != NULL)
			call->signature->version = atoi(latest[0].value);
		snprintf(path, sizeof(path), "data.keys.%d.public_key", call->signature->version);
		/* A symmetric key's versions are times, and not objects. */
		if (dp_kms_reply_parse(copy, len, wanted, 1) && wanted[0].value != NULL)
			take_public_key(call, wanted[0].value);
		if (call->status == DP_KMS_PENDING)
			dp_kms_call_fail_unable(call);
	}
	free(copy);
}

static void
settle_state(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	DpKmsMember wanted[] = {{"data.name"}, {"data.soft_deleted"}};
	DpKmsCall  *call = transfer->call;

	if (status == 404)
		dp_kms_call_root(call, DP_KMS_ROOT_DELETED, 0, NULL);
	else if (read_reply(call, status, text, len, wanted, lengthof(wanted)))
		dp_kms_call_root(call, wanted[0].value == NULL ? DP_KMS_ROOT_UNKNOWN :
						 wanted[1].value != NULL && strcmp(wanted[1].value, "true") == 0 ? DP_KMS_ROOT_DISABLED :
						 DP_KMS_ROOT_ENABLED, 0, NULL);
}

static void
settle_deleted(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	if (status == 204 || status == 200 || status == 404)
		transfer->call->status = DP_KMS_OK;
	else
		settle_error(transfer->call, status);
}

static void
settle_deletable(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	if (status == 204 || status == 200)
	{
		transfer->body[0] = '\0';
		send_request(transfer, "DELETE", "keys", "", settle_deleted);
	}
	else
		settle_error(transfer->call, status);
}

/* ADDRESS/v1/MOUNT/part/KEY[tail] */
static bool
build_url(DpKmsCall *call, const char *part, const char *tail, char *out, Size out_size, bool *out_loopback)
{
	const char *key = strrchr(call->uri->name, '/');
	char		path[2 * DP_KMS_URI_MAX];
	const char *problem;

	snprintf(path, sizeof(path), "%.*s/%s%s%s", (int) (key - call->uri->name), call->uri->name, part, key, tail);
	if (dp_vault_url(path, out, out_size, out_loopback, &problem))
		return true;
	dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR, "%s", problem);
	return false;
}

/* Send transfer->body; what cannot be sent ends the call. */
static void
send_request(DpKmsTransfer *transfer, const char *method, const char *part, const char *tail, DpKmsSettle settle)
{
	transfer->words[0] = method;
	transfer->words[1] = part;
	transfer->words[2] = tail;
	transfer->next_settle = settle_or_repeat;
	transfer->after = settle;
	transfer->repeated = false;
	dispatch(transfer);
}

static void
dispatch(DpKmsTransfer *transfer)
{
	DpKmsCall  *call = transfer->call;
	DpHttpRequest request = {0};
	char		url[3 * DP_KMS_URI_MAX];
	const char *token;
	const char *problem;
	const char *headers[5] = {"Content-Type: application/json", "X-Vault-Request: true", NULL, NULL, NULL};

	switch (dp_vault_token(&token, &problem))
	{
		case DP_VAULT_READY:
			break;
		case DP_VAULT_FETCHING:
			dp_kms_transfer_park(transfer, &dp_vault_parking, dispatch);
			return;
		case DP_VAULT_UNREACHABLE:
			dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE, "%s", problem);
			dp_kms_transfer_failed(transfer);
			return;
		case DP_VAULT_NONE:
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR, "%s", problem);
			dp_kms_transfer_failed(transfer);
			return;
	}
	if (!build_url(call, transfer->words[1], transfer->words[2], url, sizeof(url), &request.loopback))
	{
		dp_kms_transfer_failed(transfer);
		return;
	}
	headers[2] = token;
	headers[3] = dp_vault_namespace();
	request.method = transfer->words[0];
	request.url = url;
	request.headers = headers;
	request.client_cert = dp_vault_client_cert();
	dp_kms_transfer_start(transfer, &request);
}

/* A token that a login brought may have been revoked: once more with the next one. */
static bool
repeated(DpKmsTransfer *transfer, long status)
{
	if ((status != 403 && status != 401) || transfer->repeated || !dp_vault_token_refused())
		return false;
	transfer->repeated = true;
	dispatch(transfer);
	return true;
}

static void
settle_or_repeat(DpKmsTransfer *transfer, long status, char *text, Size len)
{
	if (!repeated(transfer, status))
		transfer->after(transfer, status, text, len);
}

static void
hcvault_begin(DpKmsCall *call)
{
	static const char *const parts[] = {
		[DP_KMS_OP_WRAP] = "encrypt",
		[DP_KMS_OP_UNWRAP] = "decrypt",
		[DP_KMS_OP_SIGN] = "sign"
	};
	DpKmsTransfer *transfer = dp_kms_transfer_new(call, WHO, 0);

	if (transfer == NULL)
		return;
	switch (call->operation)
	{
		case DP_KMS_OP_WRAP:
		case DP_KMS_OP_UNWRAP:
		case DP_KMS_OP_SIGN:
			if (build_body(transfer))
				send_request(transfer, NULL, parts[call->operation], "", settle_crypt);
			else
			{
				dp_kms_transfer_release(transfer);
				dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED, "The wrapped key was not made by Vault.");
			}
			break;
		case DP_KMS_OP_PUBLIC_KEY:
			send_request(transfer, "GET", "keys", "", settle_public_key);
			break;
		case DP_KMS_OP_STATE:
			send_request(transfer, "GET", "keys", "", settle_state);
			break;
		case DP_KMS_OP_DESTROY:
			snprintf(transfer->body, DP_KMS_BODY_MAX, "{\"deletion_allowed\":true}");
			send_request(transfer, NULL, "keys", "/config", settle_deletable);
			break;
		case DP_KMS_OP_MAKE:
			dp_kms_transfer_release(transfer);
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED,
							 "Roots of this kind are made at the KMS.");
			break;
	}
}

const DpKmsProvider dp_kms_provider_hcvault = {
	.name = "hcvault",
	.begin = hcvault_begin,
	.cancel = dp_kms_transfer_cancel,
	.credentials_expiry = dp_vault_token_expiry,
};
