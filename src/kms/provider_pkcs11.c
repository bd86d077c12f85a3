/*
 * provider_pkcs11.c
 *	  pkcs11: a root key inside a token, reached by a PKCS#11 module.
 *
 * The root is an AES-256 key that the token does not give away (sensitive, not
 * extractable: any other is refused).  An epoch key is sealed and opened inside
 * the token by AES-GCM; the context (dp_kms_context_bytes) is authenticated with
 * it.  A wrapped key is
 *		1 byte format (1) | 12 byte IV, random | ciphertext 32 | tag 16
 *
 * Module and PIN file are settings, never parts of a URI: a URI is written by
 * whoever may create keys, and a module is code that runs in the agent.
 *
 * Sessions are kept.  Where one is lost, or a token is gone, the module is started
 * anew and the call repeated once; a token that comes back is found by the next
 * call.  A PIN that the token refused is not tried again until its file changes,
 * since tokens lock themselves after a few.
 *
 * Calls are synchronous: a token on a network that hangs makes the agent hang.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include "base/guc.h"
#include "base/secret.h"
#include "kms/cryptoki.h"
#include "kms/provider.h"
#include "kms/secret_file.h"

#define FORMAT		1
#define BLOB_LEN	(1 + DP_NONCE_LEN + DP_KEY_LEN + DP_TAG_LEN)
#define MAX_SLOTS	64
#define MAX_TOKENS	8			/* sessions that are kept */
#define PIN_MAX		255

typedef struct Token
{
	char		name[DP_KMS_TOKEN_MAX]; /* "": unused */
	char		serial[DP_KMS_TOKEN_MAX];
	DpCkUlong	session;
} Token;

/* How far one attempt came. */
typedef enum Outcome
{
	SETTLED,					/* the call has ended, well or not */
	LOST						/* session or token: worth another start */
} Outcome;

static DpCkFunctionList *module = NULL;
static bool started = false;
static Token tokens[MAX_TOKENS];
static int	next_token = 0;
static struct stat refused_pin; /* of the file whose PIN was refused; st_ino 0: none */

/* Call a function of the module by its number and type of arguments. */
#define CALL(number, types, ...) \
	(((DpCkResult (*) types) module->function[number]) (__VA_ARGS__))

/* ---- the module ---- */

static bool
load_module(DpKmsCall *call)
{
	void	   *library;
	DpCkResult	(*get_list) (DpCkFunctionList **list);

	if (module != NULL)
		return true;
	if (dp_guc_kms_pkcs11_module == NULL || dp_guc_kms_pkcs11_module[0] != '/')
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The setting dataprotect.kms_pkcs11_module must be the absolute path of a PKCS#11 module.");
		return false;
	}
	library = dlopen(dp_guc_kms_pkcs11_module, RTLD_NOW | RTLD_LOCAL);
	get_list = library != NULL ? (DpCkResult (*) (DpCkFunctionList **)) dlsym(library, "C_GetFunctionList") : NULL;
	if (get_list == NULL || get_list(&module) != CK_OK || module == NULL || module->major < 2)
	{
		module = NULL;
		if (library != NULL)
			dlclose(library);
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The PKCS#11 module of dataprotect.kms_pkcs11_module could not be loaded.");
		return false;
	}
	return true;
}

static void
stop_module(void)
{
	if (started)
		(void) CALL(CK_FINALIZE, (void *), NULL);
	started = false;
	memset(tokens, 0, sizeof(tokens));
}

static DpCkResult
start_module(void)
{
	DpCkResult	result = CK_OK;

	if (!started)
		result = CALL(CK_INITIALIZE, (void *), NULL);
	if (result == CK_ALREADY_INITIALIZED)
		result = CK_OK;
	started = result == CK_OK;
	return result;
}

/* ---- a token ---- */

/* Is a blank-padded field of the module's this text? */
static bool
field_is(const unsigned char *field, Size size, const char *text)
{
	Size		len = strlen(text);

	if (len > size || memcmp(field, text, len) != 0)
		return false;
	while (len < size && field[len] == ' ')
		len++;
	return len == size;
}

/* The slot of the URI's token; false where there is none, or more than one. */
static bool
find_slot(const DpKmsUri *uri, DpCkUlong *out_slot)
{
	DpCkUlong	slots[MAX_SLOTS];
	DpCkUlong	n = MAX_SLOTS;
	int			found = 0;

	if (CALL(CK_GET_SLOT_LIST, (unsigned char, DpCkUlong *, DpCkUlong *), 1, slots, &n) != CK_OK)
		return false;
	for (DpCkUlong i = 0; i < n && i < MAX_SLOTS; i++)
	{
		DpCkTokenInfo info;

		if (CALL(CK_GET_TOKEN_INFO, (DpCkUlong, DpCkTokenInfo *), slots[i], &info) == CK_OK &&
			field_is(info.label, sizeof(info.label), uri->token) &&
			(uri->serial[0] == '\0' || field_is(info.serial, sizeof(info.serial), uri->serial)))
		{
			*out_slot = slots[i];
			found++;
		}
	}
	return found == 1;
}

/* False, and the call has ended, where the token does not let us in. */
static bool
log_in(DpKmsCall *call, DpCkUlong session)
{
	const char *path = dp_guc_kms_pkcs11_pin_file;
	uint8		pin[PIN_MAX];
	struct stat st;
	DpCkResult	result;
	int			len;

	if (path == NULL || path[0] != '/')
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The setting dataprotect.kms_pkcs11_pin_file must be the absolute path of a file.");
		return false;
	}
	if (stat(path, &st) == 0 && st.st_ino == refused_pin.st_ino && st.st_size == refused_pin.st_size &&
		memcmp(&st.st_ctim, &refused_pin.st_ctim, sizeof(st.st_ctim)) == 0)
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The token refused the PIN; it is not tried again until its file changes.");
		return false;
	}
	len = dp_secret_file_read(call, path, "PIN file", pin, 1, sizeof(pin));
	if (len < 0)
		return false;
	while (len > 0 && (pin[len - 1] == '\n' || pin[len - 1] == '\r'))
		len--;
	result = CALL(CK_LOGIN, (DpCkUlong, DpCkUlong, unsigned char *, DpCkUlong), session, CK_USER, pin, (DpCkUlong) len);
	dp_secret_wipe(pin, sizeof(pin));
	if (result == CK_OK || result == CK_USER_ALREADY_LOGGED_IN)
		return true;
	if (result == CK_PIN_INCORRECT || result == CK_PIN_INVALID || result == CK_PIN_LEN_RANGE || result == CK_PIN_LOCKED)
	{
		refused_pin = st;
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The token refused the PIN%s.", result == CK_PIN_LOCKED ? ": it is locked" : "");
	}
	else
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 "The token did not let the agent log in (code 0x%lx).", result);
	return false;
}

/* A session of the URI's token, kept or opened. */
static Outcome
get_session(DpKmsCall *call, DpCkUlong *out_session, bool *out_kept)
{
	const DpKmsUri *uri = call->uri;
	Token	   *token;
	DpCkUlong	slot;

	for (int i = 0; i < MAX_TOKENS; i++)
	{
		token = &tokens[i];
		if (token->name[0] != '\0' && strcmp(token->name, uri->token) == 0 && strcmp(token->serial, uri->serial) == 0)
		{
			*out_session = token->session;
			*out_kept = true;
			return SETTLED;
		}
	}
	*out_kept = false;
	if (!find_slot(uri, &slot) ||
		CALL(CK_OPEN_SESSION, (DpCkUlong, DpCkUlong, void *, void *, DpCkUlong *),
			 slot, CK_SESSION_SERIAL, NULL, NULL, out_session) != CK_OK)
		return LOST;
	if (!log_in(call, *out_session))
	{
		(void) CALL(CK_CLOSE_SESSION, (DpCkUlong), *out_session);
		return SETTLED;
	}
	token = &tokens[next_token++ % MAX_TOKENS];
	if (token->name[0] != '\0')
		(void) CALL(CK_CLOSE_SESSION, (DpCkUlong), token->session);
	strlcpy(token->name, uri->token, sizeof(token->name));
	strlcpy(token->serial, uri->serial, sizeof(token->serial));
	token->session = *out_session;
	return SETTLED;
}

/* ---- the key ---- */

/* False, and the call has ended, unless the token keeps the key to itself. */
static Outcome
check_key(DpKmsCall *call, DpCkUlong session, DpCkUlong key)
{
	unsigned char sensitive = 0;
	unsigned char extractable = 1;
	DpCkUlong	len = 0;
	DpCkAttribute wanted[] = {
		{CK_ATTR_SENSITIVE, &sensitive, sizeof(sensitive)},
		{CK_ATTR_EXTRACTABLE, &extractable, sizeof(extractable)},
		{CK_ATTR_VALUE_LEN, &len, sizeof(len)}
	};

	if (CALL(CK_GET_ATTRIBUTE_VALUE, (DpCkUlong, DpCkUlong, DpCkAttribute *, DpCkUlong),
			 session, key, wanted, lengthof(wanted)) != CK_OK)
		return LOST;
	if (!sensitive || extractable)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						 "The token would give the key away: it is extractable, or not sensitive.");
	else if (len != DP_KEY_LEN)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						 "The key in the token is no AES key of 256 bits.");
	return SETTLED;
}

/* What a kept session does not find, a new one may: its token was taken out. */
static Outcome
find_key(DpKmsCall *call, DpCkUlong session, bool kept, DpCkUlong *out_key)
{
	DpCkUlong	class = CK_CLASS_SECRET_KEY;
	DpCkUlong	type = CK_KEY_AES;
	DpCkUlong	found[2];
	DpCkUlong	n = 0;
	DpCkAttribute template[] = {
		{CK_ATTR_CLASS, &class, sizeof(class)},
		{CK_ATTR_KEY_TYPE, &type, sizeof(type)},
		{CK_ATTR_LABEL, (void *) call->uri->name, strlen(call->uri->name)}
	};
	DpCkResult	result;

	if (CALL(CK_FIND_OBJECTS_INIT, (DpCkUlong, DpCkAttribute *, DpCkUlong),
			 session, template, lengthof(template)) != CK_OK)
		return LOST;
	result = CALL(CK_FIND_OBJECTS, (DpCkUlong, DpCkUlong *, DpCkUlong, DpCkUlong *), session, found, lengthof(found), &n);
	(void) CALL(CK_FIND_OBJECTS_FINAL, (DpCkUlong), session);
	if (result != CK_OK || (n == 0 && kept))
		return LOST;
	if (n != 1)
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_UNDEFINED_OBJECT,
						 n == 0 ? "The token has no AES key of that label." : "The token has more than one AES key of that label.");
		return SETTLED;
	}
	*out_key = found[0];
	return check_key(call, session, *out_key);
}

/* ---- sealing and opening ---- */

static Outcome
seal(DpKmsCall *call, DpCkUlong session, DpCkUlong key, DpCkMechanism *mechanism, const uint8 *iv)
{
	unsigned char out[DP_KEY_LEN + DP_TAG_LEN];
	DpCkUlong	out_len = sizeof(out);

	if (CALL(CK_ENCRYPT_INIT, (DpCkUlong, DpCkMechanism *, DpCkUlong), session, mechanism, key) != CK_OK ||
		CALL(CK_ENCRYPT, (DpCkUlong, unsigned char *, DpCkUlong, unsigned char *, DpCkUlong *),
			 session, call->key, DP_KEY_LEN, out, &out_len) != CK_OK)
		return LOST;
	if (out_len != sizeof(out))
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The token does not seal as AES-GCM with a tag of 16 bytes does.");
		return SETTLED;
	}
	call->blob.data[0] = FORMAT;
	memcpy(call->blob.data + 1, iv, DP_NONCE_LEN);
	memcpy(call->blob.data + 1 + DP_NONCE_LEN, out, sizeof(out));
	call->blob.len = BLOB_LEN;
	call->status = DP_KMS_OK;
	return SETTLED;
}

static Outcome
unseal(DpKmsCall *call, DpCkUlong session, DpCkUlong key, DpCkMechanism *mechanism)
{
	unsigned char out[DP_KEY_LEN + DP_TAG_LEN];
	DpCkUlong	out_len = sizeof(out);
	DpCkResult	result;

	if (CALL(CK_DECRYPT_INIT, (DpCkUlong, DpCkMechanism *, DpCkUlong), session, mechanism, key) != CK_OK)
		return LOST;
	result = CALL(CK_DECRYPT, (DpCkUlong, unsigned char *, DpCkUlong, unsigned char *, DpCkUlong *),
				  session, call->blob.data + 1 + DP_NONCE_LEN, DP_KEY_LEN + DP_TAG_LEN, out, &out_len);
	if (result == CK_OK && out_len == DP_KEY_LEN)
	{
		memcpy(call->key, out, DP_KEY_LEN);
		call->status = DP_KMS_OK;
	}
	else if (result != CK_DEVICE_ERROR && result != CK_DEVICE_REMOVED)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
						 "The wrapped key does not open under this key of the token.");
	dp_secret_wipe(out, sizeof(out));
	return call->status == DP_KMS_PENDING ? LOST : SETTLED;
}

static Outcome
attempt(DpKmsCall *call, bool wrap)
{
	uint8		iv[DP_NONCE_LEN];
	uint8		context[DP_KMS_CONTEXT_LEN];
	DpCkGcm		gcm = {iv, sizeof(iv), 8 * sizeof(iv), context, sizeof(context), 8 * DP_TAG_LEN};
	DpCkMechanism mechanism = {CK_MECHANISM_AES_GCM, &gcm, sizeof(gcm)};
	DpCkUlong	session = 0;
	DpCkUlong	key = 0;
	bool		kept;
	Outcome		outcome;

	if (start_module() != CK_OK)
		return LOST;
	outcome = get_session(call, &session, &kept);
	if (outcome == SETTLED && call->status == DP_KMS_PENDING)
		outcome = find_key(call, session, kept, &key);
	if (outcome == LOST || call->status != DP_KMS_PENDING)
		return outcome;
	dp_kms_context_bytes(call->context, context);
	if (!wrap)
		memcpy(iv, call->blob.data + 1, sizeof(iv));
	else if (!dp_random_nonce(iv))
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INTERNAL_ERROR,
						 "The cryptographic library could not make an IV.");
		return SETTLED;
	}
	return wrap ? seal(call, session, key, &mechanism, iv) : unseal(call, session, key, &mechanism);
}

static void
work(DpKmsCall *call, bool wrap)
{
	if (!load_module(call))
		return;
	if (attempt(call, wrap) == SETTLED)
		return;
	/* A module sees tokens that came and went only when it starts. */
	stop_module();
	if (attempt(call, wrap) == SETTLED)
		return;
	stop_module();
	dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
					 "The token is not there, or does not do what it is asked to (AES-GCM with this key).");
}

static void
pkcs11_wrap(DpKmsCall *call)
{
	work(call, true);
}

static void
pkcs11_unwrap(DpKmsCall *call)
{
	if (call->blob.len == BLOB_LEN && call->blob.data[0] == FORMAT)
		work(call, false);
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
						 "The wrapped key was not made by a token.");
}

const DpKmsProvider dp_kms_provider_pkcs11 = {
	.name = "pkcs11",
	.wrap = pkcs11_wrap,
	.unwrap = pkcs11_unwrap,
};
