/*
 * provider_kmip.c
 *	  kmip://ID: a root key in a server that speaks KMIP, by its unique identifier.
 *
 * The root is an AES-256 key that the server uses: an epoch key is sealed and opened
 * there, by Encrypt and Decrypt with AES-GCM; the context (dp_kms_context_bytes) is
 * authenticated with it.  A wrapped key is
 *		1 byte format (1) | 12 byte IV, random | ciphertext 32 | tag 16
 *
 * Messages are TTLV over TLS, one request and one connection each; the server knows
 * us by a client certificate.  Version 1.4 is spoken first, the oldest with
 * authenticated data, and 2.0 where the server does not take that.
 *
 * Server and certificate are settings, never parts of a URI: who may create keys
 * does not choose whom the certificate is shown.
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/secret.h"
#include "kms/secret_file.h"
#include "kms/transfer.h"
#include "kms/ttlv.h"

#define FORMAT			1
#define BLOB_LEN		(1 + DP_NONCE_LEN + DP_KEY_LEN + DP_TAG_LEN)
#define DEFAULT_PORT	"5696"
#define PEM_MAX			(32 * 1024)

/* Tags. */
#define ATTRIBUTE					0x420008
#define ATTRIBUTE_NAME				0x42000A
#define ATTRIBUTE_VALUE				0x42000B
#define BATCH_COUNT					0x42000D
#define BATCH_ITEM					0x42000F
#define BLOCK_CIPHER_MODE			0x420011
#define CRYPTOGRAPHIC_ALGORITHM		0x420028
#define CRYPTOGRAPHIC_LENGTH		0x42002A
#define CRYPTOGRAPHIC_PARAMETERS	0x42002B
#define IV_COUNTER_NONCE			0x42003D
#define OPERATION					0x42005C
#define PROTOCOL_VERSION			0x420069
#define PROTOCOL_VERSION_MAJOR		0x42006A
#define PROTOCOL_VERSION_MINOR		0x42006B
#define REQUEST_HEADER				0x420077
#define REQUEST_MESSAGE				0x420078
#define REQUEST_PAYLOAD				0x420079
#define RESPONSE_MESSAGE			0x42007B
#define RESPONSE_PAYLOAD			0x42007C
#define RESULT_REASON				0x42007E
#define RESULT_STATUS				0x42007F
#define REVOCATION_REASON			0x420081
#define REVOCATION_REASON_CODE		0x420082
#define STATE						0x42008D
#define UNIQUE_IDENTIFIER			0x420094
#define DATA						0x4200C2
#define TAG_LENGTH					0x4200CE
#define ADDITIONAL_DATA				0x4200FE
#define AUTHENTICATION_TAG			0x4200FF
#define ATTRIBUTES					0x420125
#define ATTRIBUTE_REFERENCE			0x42013B

/* Values. */
typedef enum Operation
{
	GET_ATTRIBUTES = 0x0B,
	REVOKE = 0x13,
	DESTROY = 0x14,
	ENCRYPT = 0x1F,
	DECRYPT = 0x20
} Operation;

#define ALGORITHM_AES			3
#define MODE_GCM				9
#define CESSATION_OF_OPERATION	6
#define STATE_ACTIVE			2
#define STATE_DESTROYED			5
#define STATE_DESTROYED_COMPROMISED 6

/* Reasons of a server's for a failure. */
#define NO_REASON				0
#define ITEM_NOT_FOUND			0x01
#define NOT_AUTHENTICATED		0x03
#define INVALID_MESSAGE			0x04
#define CRYPTOGRAPHIC_FAILURE	0x0A
#define ILLEGAL_OPERATION		0x0B
#define PERMISSION_DENIED		0x0C
#define OBJECT_ARCHIVED			0x0D
#define INTERNAL_SERVER_ERROR	0x2A
#define OBJECT_DESTROYED		0x36
#define OBJECT_NOT_FOUND		0x37
#define NOT_AUTHORISED			0x39
#define SERVER_LIMIT_EXCEEDED	0x3A
#define UNSUPPORTED_VERSION		0x3F
#define WRONG_STATE				0x43
#define GENERAL_FAILURE			0x100

/* A transfer's own. */
typedef struct Exchange
{
	Operation	operation;
	Size		len;			/* of transfer->body */
	bool		spoke_2;		/* in which version it was sent */
} Exchange;

static bool speak_2 = false;	/* what the server took last */

static void send_request(DpKmsTransfer *transfer, Operation operation, DpKmsSettle settle);

/* ---- what is sent ---- */

static void
write_attributes_wanted(DpTtlvWriter *writer)
{
	static const char *const names[] = {"State", "Cryptographic Algorithm", "Cryptographic Length"};
	static const uint32 tags[] = {STATE, CRYPTOGRAPHIC_ALGORITHM, CRYPTOGRAPHIC_LENGTH};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (speak_2)
			dp_ttlv_number(writer, ATTRIBUTE_REFERENCE, DP_TTLV_ENUMERATION, tags[i]);
		else
			dp_ttlv_bytes(writer, ATTRIBUTE_NAME, DP_TTLV_TEXT, names[i], strlen(names[i]));
	}
}

/* Parameters, data, IV, additional data, and the tag to be checked. */
static void
write_crypt(DpTtlvWriter *writer, DpKmsCall *call)
{
	bool		wrap = call->operation == DP_KMS_OP_WRAP;
	const uint8 *iv = call->blob.data + 1;
	const uint8 *sealed = iv + DP_NONCE_LEN;
	uint8		context[DP_KMS_CONTEXT_LEN];

	dp_kms_context_bytes(call->context, context);
	dp_ttlv_begin(writer, CRYPTOGRAPHIC_PARAMETERS);
	dp_ttlv_number(writer, BLOCK_CIPHER_MODE, DP_TTLV_ENUMERATION, MODE_GCM);
	dp_ttlv_number(writer, CRYPTOGRAPHIC_ALGORITHM, DP_TTLV_ENUMERATION, ALGORITHM_AES);
	dp_ttlv_number(writer, TAG_LENGTH, DP_TTLV_INTEGER, DP_TAG_LEN);
	dp_ttlv_end(writer);
	dp_ttlv_bytes(writer, DATA, DP_TTLV_BYTES, wrap ? call->key : sealed, DP_KEY_LEN);
	dp_ttlv_bytes(writer, IV_COUNTER_NONCE, DP_TTLV_BYTES, iv, DP_NONCE_LEN);
	dp_ttlv_bytes(writer, ADDITIONAL_DATA, DP_TTLV_BYTES, context, sizeof(context));
	if (!wrap)
		dp_ttlv_bytes(writer, AUTHENTICATION_TAG, DP_TTLV_BYTES, sealed + DP_KEY_LEN, DP_TAG_LEN);
}

static bool
build_message(DpKmsTransfer *transfer)
{
	Exchange   *exchange = (Exchange *) transfer->own;
	DpKmsCall  *call = transfer->call;
	DpTtlvWriter writer = {.data = (uint8 *) transfer->body,.room = DP_KMS_BODY_MAX};

	dp_ttlv_begin(&writer, REQUEST_MESSAGE);
	dp_ttlv_begin(&writer, REQUEST_HEADER);
	dp_ttlv_begin(&writer, PROTOCOL_VERSION);
	dp_ttlv_number(&writer, PROTOCOL_VERSION_MAJOR, DP_TTLV_INTEGER, speak_2 ? 2 : 1);
	dp_ttlv_number(&writer, PROTOCOL_VERSION_MINOR, DP_TTLV_INTEGER, speak_2 ? 0 : 4);
	dp_ttlv_end(&writer);
	dp_ttlv_number(&writer, BATCH_COUNT, DP_TTLV_INTEGER, 1);
	dp_ttlv_end(&writer);
	dp_ttlv_begin(&writer, BATCH_ITEM);
	dp_ttlv_number(&writer, OPERATION, DP_TTLV_ENUMERATION, exchange->operation);
	dp_ttlv_begin(&writer, REQUEST_PAYLOAD);
	dp_ttlv_bytes(&writer, UNIQUE_IDENTIFIER, DP_TTLV_TEXT, call->uri->name, strlen(call->uri->name));
	switch (exchange->operation)
	{
		case GET_ATTRIBUTES:
			write_attributes_wanted(&writer);
			break;
		case ENCRYPT:
		case DECRYPT:
			write_crypt(&writer, call);
			break;
		case REVOKE:
			dp_ttlv_begin(&writer, REVOCATION_REASON);
			dp_ttlv_number(&writer, REVOCATION_REASON_CODE, DP_TTLV_ENUMERATION, CESSATION_OF_OPERATION);
			dp_ttlv_end(&writer);
			break;
		case DESTROY:
			break;
	}
	dp_ttlv_end(&writer);
	dp_ttlv_end(&writer);
	dp_ttlv_end(&writer);
	exchange->len = writer.len;
	return !writer.full;
}

/* ---- what comes back ---- */

static void
settle_error(DpKmsCall *call, Operation operation, uint32 reason)
{
	switch (reason)
	{
		case ITEM_NOT_FOUND:
		case OBJECT_NOT_FOUND:
		case OBJECT_DESTROYED:
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_UNDEFINED_OBJECT,
							 "The KMIP server knows no key of that identifier (reason 0x%02x).", reason);
			break;
		case NOT_AUTHENTICATED:
		case PERMISSION_DENIED:
		case NOT_AUTHORISED:
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INSUFFICIENT_PRIVILEGE,
							 "The KMIP server refused (reason 0x%02x): the client certificate gives no right on this key, or the key is not active.", reason);
			break;
		case ILLEGAL_OPERATION:
		case OBJECT_ARCHIVED:
		case WRONG_STATE:
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							 "The KMIP server refused (reason 0x%02x): the key is not in a state for this.", reason);
			break;
		case INTERNAL_SERVER_ERROR:
		case SERVER_LIMIT_EXCEEDED:
			dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
							 "The KMIP server is not well, or has too much to do (reason 0x%02x).", reason);
			break;
		case CRYPTOGRAPHIC_FAILURE:
		case GENERAL_FAILURE:
			/* There are servers that say no more of a tag that does not fit. */
			if (operation == DECRYPT)
				dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
								 "The KMIP server could not open the wrapped key (reason 0x%02x).", reason);
			else
				dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
								 "The KMIP server failed (reason 0x%02x).", reason);
			break;
		default:
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
							 "The KMIP server does not do this (reason 0x%02x); Encrypt and Decrypt with AES-GCM are needed.", reason);
			break;
	}
}

/* The one item of a reply; false where it is none. */
static bool
read_item(const char *reply, Size len, DpTtlvItem *out_item, uint32 *out_status, uint32 *out_reason)
{
	DpTtlvItem	message;

	*out_reason = NO_REASON;
	if (!dp_ttlv_read((const uint8 *) reply, len, &message) || message.tag != RESPONSE_MESSAGE ||
		!dp_ttlv_find(&message, BATCH_ITEM, out_item) ||
		!dp_ttlv_find_number(out_item, RESULT_STATUS, DP_TTLV_ENUMERATION, out_status))
		return false;
	(void) dp_ttlv_find_number(out_item, RESULT_REASON, DP_TTLV_ENUMERATION, out_reason);
	return true;
}

/* False where the reply is no success: *out_reason is then why, or the call has ended. */
static bool
read_reply(DpKmsTransfer *transfer, const char *reply, Size len, DpTtlvItem *out_payload, uint32 *out_reason)
{
	Exchange   *exchange = (Exchange *) transfer->own;
	DpTtlvItem	item;
	DpTtlvItem	id;
	uint32		operation;
	uint32		status;

	if (!read_item(reply, len, &item, &status, out_reason))
		dp_kms_call_fail(transfer->call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The reply of the KMIP server is not the message expected.");
	else if (status != 0)
		*out_reason = *out_reason == NO_REASON ? GENERAL_FAILURE : *out_reason;
	else if (!dp_ttlv_find_number(&item, OPERATION, DP_TTLV_ENUMERATION, &operation) ||
			 operation != exchange->operation || !dp_ttlv_find(&item, RESPONSE_PAYLOAD, out_payload) ||
			 !dp_ttlv_find(out_payload, UNIQUE_IDENTIFIER, &id) || id.len != strlen(transfer->call->uri->name) ||
			 memcmp(id.value, transfer->call->uri->name, id.len) != 0)
		dp_kms_call_fail(transfer->call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The reply of the KMIP server is to something else than was asked.");
	else
		return true;
	return false;
}

/* An attribute's number, as version 1 or version 2 gives it; 0: it has none. */
static uint32
attribute(const DpTtlvItem *payload, const char *name, uint32 tag, DpTtlvType type)
{
	const uint8_t *cursor = payload->value;
	DpTtlvItem	item;
	DpTtlvItem	part;
	uint32		value = 0;

	while (dp_ttlv_next(&cursor, payload->value + payload->len, &item))
	{
		if (item.tag == ATTRIBUTES)
			(void) dp_ttlv_find_number(&item, tag, type, &value);
		else if (item.tag == ATTRIBUTE && dp_ttlv_find(&item, ATTRIBUTE_NAME, &part) &&
				 part.len == strlen(name) && memcmp(part.value, name, part.len) == 0)
			(void) dp_ttlv_find_number(&item, ATTRIBUTE_VALUE, type, &value);
	}
	return value;
}

static bool
get_bytes(const DpTtlvItem *payload, uint32 tag, uint8 *out, Size len)
{
	DpTtlvItem	item;

	if (!dp_ttlv_find(payload, tag, &item) || item.type != DP_TTLV_BYTES || item.len != len)
		return false;
	memcpy(out, item.value, len);
	return true;
}

static void
settle_crypt(DpKmsTransfer *transfer, long status, char *reply, Size len)
{
	DpKmsCall  *call = transfer->call;
	Exchange   *exchange = (Exchange *) transfer->own;
	uint8	   *iv = call->blob.data + 1;
	uint8		its_iv[DP_NONCE_LEN];
	DpTtlvItem	payload;
	DpTtlvItem	item;
	uint32		reason;
	bool		ok;

	if (!read_reply(transfer, reply, len, &payload, &reason))
	{
		if (call->status == DP_KMS_PENDING)
			settle_error(call, exchange->operation, reason);
		return;
	}
	if (exchange->operation == DECRYPT)
		ok = get_bytes(&payload, DATA, call->key, DP_KEY_LEN);
	else
	{
		/* An IV of the server's own would have to be the one that is kept. */
		ok = get_bytes(&payload, DATA, iv + DP_NONCE_LEN, DP_KEY_LEN) &&
			get_bytes(&payload, AUTHENTICATION_TAG, iv + DP_NONCE_LEN + DP_KEY_LEN, DP_TAG_LEN) &&
			(!dp_ttlv_find(&payload, IV_COUNTER_NONCE, &item) ||
			 (get_bytes(&payload, IV_COUNTER_NONCE, its_iv, sizeof(its_iv)) && memcmp(its_iv, iv, sizeof(its_iv)) == 0));
		call->blob.len = BLOB_LEN;
	}
	if (ok)
		call->status = DP_KMS_OK;
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The KMIP server does not seal as AES-GCM with a tag of 16 bytes does.");
}

/* A root is looked at before anything is wrapped under it. */
static void
settle_fit(DpKmsTransfer *transfer, long status, char *reply, Size len)
{
	DpKmsCall  *call = transfer->call;
	DpTtlvItem	payload;
	uint32		reason;

	if (!read_reply(transfer, reply, len, &payload, &reason))
	{
		if (call->status == DP_KMS_PENDING)
			settle_error(call, GET_ATTRIBUTES, reason);
	}
	else if (attribute(&payload, "Cryptographic Algorithm", CRYPTOGRAPHIC_ALGORITHM, DP_TTLV_ENUMERATION) != ALGORITHM_AES ||
			 attribute(&payload, "Cryptographic Length", CRYPTOGRAPHIC_LENGTH, DP_TTLV_INTEGER) != 8 * DP_KEY_LEN)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						 "The key in the KMIP server is no AES key of 256 bits.");
	else if (attribute(&payload, "State", STATE, DP_TTLV_ENUMERATION) != STATE_ACTIVE)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						 "The key in the KMIP server is not active.");
	else if (!dp_random_nonce(call->blob.data + 1))
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INTERNAL_ERROR,
						 "The cryptographic library could not make an IV.");
	else
	{
		call->blob.data[0] = FORMAT;
		send_request(transfer, ENCRYPT, settle_crypt);
	}
}

static bool
is_gone(uint32 reason)
{
	return reason == ITEM_NOT_FOUND || reason == OBJECT_NOT_FOUND || reason == OBJECT_DESTROYED;
}

static void
settle_state(DpKmsTransfer *transfer, long status, char *reply, Size len)
{
	DpKmsCall  *call = transfer->call;
	DpTtlvItem	payload;
	uint32		reason;

	if (read_reply(transfer, reply, len, &payload, &reason))
	{
		uint32		state = attribute(&payload, "State", STATE, DP_TTLV_ENUMERATION);

		dp_kms_call_root(call, state == 0 ? DP_KMS_ROOT_UNKNOWN : state == STATE_ACTIVE ? DP_KMS_ROOT_ENABLED :
						 state == STATE_DESTROYED || state == STATE_DESTROYED_COMPROMISED ? DP_KMS_ROOT_DELETED :
						 DP_KMS_ROOT_DISABLED, 0, NULL);
	}
	else if (call->status == DP_KMS_PENDING && is_gone(reason))
		dp_kms_call_root(call, DP_KMS_ROOT_DELETED, 0, NULL);
	else if (call->status == DP_KMS_PENDING)
		settle_error(call, GET_ATTRIBUTES, reason);
}

static void
settle_destroyed(DpKmsTransfer *transfer, long status, char *reply, Size len)
{
	DpKmsCall  *call = transfer->call;
	DpTtlvItem	payload;
	uint32		reason;

	if (read_reply(transfer, reply, len, &payload, &reason) ||
		(call->status == DP_KMS_PENDING && is_gone(reason)))
		call->status = DP_KMS_OK;
	else if (call->status == DP_KMS_PENDING)
		settle_error(call, DESTROY, reason);
}

/* What was not active is not revoked, and can be destroyed. */
static void
settle_revoked(DpKmsTransfer *transfer, long status, char *reply, Size len)
{
	DpTtlvItem	payload;
	uint32		reason;

	(void) read_reply(transfer, reply, len, &payload, &reason);
	if (transfer->call->status == DP_KMS_PENDING)
		send_request(transfer, DESTROY, settle_destroyed);
}

/* ---- the exchange ---- */

static int64
reply_size(const uint8 *reply, Size len)
{
	return dp_ttlv_size(reply, len);
}

/* https://HOST:PORT, for libcurl; no HTTP is spoken. */
static bool
build_url(DpKmsCall *call, char *out, Size out_size, bool *out_loopback)
{
	const char *server = dp_guc_kms_kmip_server != NULL ? dp_guc_kms_kmip_server : "";
	const char *name_end = strrchr(server, ']');

	snprintf(out, out_size, "https://%s%s", server,
			 strchr(name_end != NULL ? name_end : server, ':') != NULL ? "" : ":" DEFAULT_PORT);
	if (strchr(server, '/') == NULL && dp_kms_endpoint_valid(out, out_loopback))
		return true;
	dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
					 "The setting dataprotect.kms_kmip_server must be HOST or HOST:PORT.");
	return false;
}

/* It holds a private key; libcurl reads it, and has no eye for who else can. */
static bool
check_certificate(DpKmsCall *call)
{
	const char *path = dp_guc_kms_kmip_client_cert;
	uint8	   *pem;
	int			len;

	if (path == NULL || path[0] != '/')
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The setting dataprotect.kms_kmip_client_cert must be the absolute path of a file.");
		return false;
	}
	pem = malloc(PEM_MAX);
	if (pem == NULL)
	{
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_OUT_OF_MEMORY, "The key agent is out of memory.");
		return false;
	}
	len = dp_secret_file_read(call, path, "file of the client certificate", pem, 1, PEM_MAX);
	dp_secret_wipe(pem, PEM_MAX);
	free(pem);
	return len > 0;
}

static void
dispatch(DpKmsTransfer *transfer)
{
	DpHttpRequest request = {0};
	char		url[DP_KMS_URI_MAX];

	if (!build_url(transfer->call, url, sizeof(url), &request.loopback) || !check_certificate(transfer->call))
	{
		dp_kms_transfer_failed(transfer);
		return;
	}
	((Exchange *) transfer->own)->spoke_2 = speak_2;
	if (!build_message(transfer))
	{
		dp_kms_call_fail(transfer->call, DP_KMS_REFUSED, ERRCODE_INTERNAL_ERROR, "The request is too long.");
		dp_kms_transfer_failed(transfer);
		return;
	}
	request.url = url;
	request.body = transfer->body;
	request.body_len = ((Exchange *) transfer->own)->len;
	request.reply_size = reply_size;
	request.client_cert = dp_guc_kms_kmip_client_cert;
	dp_kms_transfer_start(transfer, &request);
}

/* A server that does not take our version is asked once more in the other. */
static void
settle_or_repeat(DpKmsTransfer *transfer, long status, char *reply, Size len)
{
	DpTtlvItem	item;
	uint32		result;
	uint32		reason;

	if (!transfer->repeated && read_item(reply, len, &item, &result, &reason) && result != 0 &&
		(reason == INVALID_MESSAGE || reason == UNSUPPORTED_VERSION))
	{
		transfer->repeated = true;
		/* not what is spoken by now: another call may have found that out meanwhile */
		speak_2 = !((Exchange *) transfer->own)->spoke_2;
		dispatch(transfer);
	}
	else
		transfer->after(transfer, status, reply, len);
}

static void
send_request(DpKmsTransfer *transfer, Operation operation, DpKmsSettle settle)
{
	((Exchange *) transfer->own)->operation = operation;
	transfer->next_settle = settle_or_repeat;
	transfer->after = settle;
	transfer->repeated = false;
	dispatch(transfer);
}

static void
kmip_begin(DpKmsCall *call)
{
	DpKmsTransfer *transfer;

	if (call->operation == DP_KMS_OP_UNWRAP && (call->blob.len != BLOB_LEN || call->blob.data[0] != FORMAT))
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED, "The wrapped key was not made by a KMIP server.");
		return;
	}
	if (call->operation == DP_KMS_OP_PUBLIC_KEY || call->operation == DP_KMS_OP_SIGN)
	{
		dp_kms_call_fail_unable(call);
		return;
	}
	if (call->operation == DP_KMS_OP_MAKE)
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED,
						 "Roots of this kind are made at the KMS.");
		return;
	}
	transfer = dp_kms_transfer_new(call, "The KMIP server", sizeof(Exchange));
	if (transfer == NULL)
		return;
	if (call->operation == DP_KMS_OP_WRAP)
		send_request(transfer, GET_ATTRIBUTES, settle_fit);
	else if (call->operation == DP_KMS_OP_UNWRAP)
		send_request(transfer, DECRYPT, settle_crypt);
	else if (call->operation == DP_KMS_OP_STATE)
		send_request(transfer, GET_ATTRIBUTES, settle_state);
	else
		send_request(transfer, REVOKE, settle_revoked);
}

const DpKmsProvider dp_kms_provider_kmip = {
	.name = "kmip",
	.begin = kmip_begin,
	.cancel = dp_kms_transfer_cancel,
};
