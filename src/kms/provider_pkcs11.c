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
 * A root that signs is a pair of keys of one label: RSA (PSS), EC or Ed25519, the
 * private one kept as closely.
 *
 * Modules wait as long as they like: each call is a process of its own (child_call.h),
 * which loads the module, logs in, and ends; a token that went and came back is found
 * by the next one.  A PIN that the token refused is not tried again until its file
 * changes, and one that it does not know yet is not tried twice at once, since tokens
 * lock themselves after a few.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include "base/guc.h"
#include "base/secret.h"
#include "kms/child_call.h"
#include "kms/cryptoki.h"
#include "kms/secret_file.h"

#define FORMAT		1
#define BLOB_LEN	(1 + DP_NONCE_LEN + DP_KEY_LEN + DP_TAG_LEN)
#define MAX_SLOTS	64
#define PIN_MAX		255

/* How far one attempt came. */
typedef enum Outcome
{
	SETTLED,					/* the call has ended, well or not */
	LOST						/* session or token */
} Outcome;

static DpCkFunctionList *module = NULL;
static bool started = false;

/* A file with a PIN as it was; zeros: none. */
typedef struct PinFile
{
	ino_t		inode;
	off_t		size;
	struct timespec changed;
} PinFile;

/* What is kept from call to call. */
static struct
{
	PinFile		refused;
	PinFile		accepted;
}			pins;

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

/* False where there is no such file. */
static bool
look_at_pin_file(PinFile *out)
{
	struct stat st;

	memset(out, 0, sizeof(*out));
	if (dp_guc_kms_pkcs11_pin_file == NULL || stat(dp_guc_kms_pkcs11_pin_file, &st) != 0)
		return false;
	out->inode = st.st_ino;
	out->size = st.st_size;
	out->changed = st.st_ctim;
	return true;
}

/* While a PIN is not known to be right, one call tries it and no other. */
static bool
is_pin_unknown(void)
{
	PinFile		now;

	return !look_at_pin_file(&now) || memcmp(&now, &pins.accepted, sizeof(now)) != 0;
}

/* Where the token does not let us in, the call has ended. */
static void
log_in(DpKmsCall *call, DpCkUlong session)
{
	const char *path = dp_guc_kms_pkcs11_pin_file;
	uint8		pin[PIN_MAX];
	PinFile		file;
	DpCkResult	result;
	int			len;

	if (path == NULL || path[0] != '/')
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The setting dataprotect.kms_pkcs11_pin_file must be the absolute path of a file.");
		return;
	}
	if (look_at_pin_file(&file) && memcmp(&file, &pins.refused, sizeof(file)) == 0)
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The token refused the PIN; it is not tried again until its file changes.");
		return;
	}
	len = dp_secret_file_read(call, path, "PIN file", pin, 1, sizeof(pin));
	if (len < 0)
		return;
	while (len > 0 && (pin[len - 1] == '\n' || pin[len - 1] == '\r'))
		len--;
	result = CALL(CK_LOGIN, (DpCkUlong, DpCkUlong, unsigned char *, DpCkUlong), session, CK_USER, pin, (DpCkUlong) len);
	dp_secret_wipe(pin, sizeof(pin));
	if (result == CK_OK || result == CK_USER_ALREADY_LOGGED_IN)
		pins.accepted = file;
	else if (result == CK_PIN_INCORRECT || result == CK_PIN_INVALID || result == CK_PIN_LEN_RANGE || result == CK_PIN_LOCKED)
	{
		pins.refused = file;
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The token refused the PIN%s.", result == CK_PIN_LOCKED ? ": it is locked" : "");
	}
	else
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 "The token did not let the agent log in (code 0x%lx).", result);
}

/* A session of the URI's token. */
static Outcome
open_session(DpKmsCall *call, DpCkUlong *out_session)
{
	DpCkUlong	slot;

	if (!find_slot(call->uri, &slot) ||
		CALL(CK_OPEN_SESSION, (DpCkUlong, DpCkUlong, void *, void *, DpCkUlong *),
			 slot, CK_SESSION_SERIAL, NULL, NULL, out_session) != CK_OK)
		return LOST;
	log_in(call, *out_session);
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

/* The objects of a class under the URI's label: how many, and the first two. */
static Outcome
find_objects(const DpKmsCall *call, DpCkUlong session, DpCkUlong class, DpCkUlong found[2], DpCkUlong *out_n)
{
	DpCkUlong	type = CK_KEY_AES;
	DpCkAttribute template[] = {
		{CK_ATTR_CLASS, &class, sizeof(class)},
		{CK_ATTR_LABEL, (void *) call->uri->name, strlen(call->uri->name)},
		{CK_ATTR_KEY_TYPE, &type, sizeof(type)}
	};
	DpCkUlong	n_attributes = class == CK_CLASS_SECRET_KEY ? 3 : 2;
	DpCkResult	result;

	*out_n = 0;
	if (CALL(CK_FIND_OBJECTS_INIT, (DpCkUlong, DpCkAttribute *, DpCkUlong),
			 session, template, n_attributes) != CK_OK)
		return LOST;
	result = CALL(CK_FIND_OBJECTS, (DpCkUlong, DpCkUlong *, DpCkUlong, DpCkUlong *), session, found, 2, out_n);
	(void) CALL(CK_FIND_OBJECTS_FINAL, (DpCkUlong), session);
	return result == CK_OK ? SETTLED : LOST;
}

/* The one object of its class. */
static Outcome
find_one(DpKmsCall *call, DpCkUlong session, DpCkUlong class, const char *kind, DpCkUlong *out_object)
{
	DpCkUlong	found[2];
	DpCkUlong	n;

	if (find_objects(call, session, class, found, &n) == LOST)
		return LOST;
	if (n == 1)
		*out_object = found[0];
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_UNDEFINED_OBJECT,
						 "The token has %s %s of that label.", n == 0 ? "no" : "more than one", kind);
	return SETTLED;
}

static Outcome
find_key(DpKmsCall *call, DpCkUlong session, DpCkUlong *out_key)
{
	if (find_one(call, session, CK_CLASS_SECRET_KEY, "AES key", out_key) == LOST)
		return LOST;
	return call->status == DP_KMS_PENDING ? check_key(call, session, *out_key) : SETTLED;
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
attempt_crypt(DpKmsCall *call, DpCkUlong session)
{
	bool		wrap = call->operation == DP_KMS_OP_WRAP;
	uint8		iv[DP_NONCE_LEN];
	uint8		context[DP_KMS_CONTEXT_LEN];
	DpCkGcm		gcm = {iv, sizeof(iv), 8 * sizeof(iv), context, sizeof(context), 8 * DP_TAG_LEN};
	DpCkMechanism mechanism = {CK_MECHANISM_AES_GCM, &gcm, sizeof(gcm)};
	DpCkUlong	key = 0;
	Outcome		outcome = find_key(call, session, &key);

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

/* ---- signing ---- */

/* Up to two attributes of an object as bytes; LOST where the token does not show them. */
static Outcome
get_bytes(DpCkUlong session, DpCkUlong object, DpCkAttribute *wanted, int n)
{
	return CALL(CK_GET_ATTRIBUTE_VALUE, (DpCkUlong, DpCkUlong, DpCkAttribute *, DpCkUlong),
				session, object, wanted, (DpCkUlong) n) == CK_OK ? SETTLED : LOST;
}

static Outcome
attempt_public_key(DpKmsCall *call, DpCkUlong session)
{
	DpCkUlong	object = 0;
	DpCkUlong	type = 0;
	uint8		first[1024];
	uint8		second[1024];
	uint8		key[DP_KMS_PUBLIC_KEY_MAX];
	size_t		len = sizeof(key);
	DpCkAttribute kind[] = {{CK_ATTR_KEY_TYPE, &type, sizeof(type)}};
	DpCkAttribute rsa[] = {{CK_ATTR_MODULUS, first, sizeof(first)}, {CK_ATTR_PUBLIC_EXPONENT, second, sizeof(second)}};
	DpCkAttribute ec[] = {{CK_ATTR_EC_PARAMS, first, sizeof(first)}, {CK_ATTR_EC_POINT, second, sizeof(second)}};
	bool		ok = false;

	if (find_one(call, session, CK_CLASS_PUBLIC_KEY, "public key", &object) == LOST)
		return LOST;
	if (call->status != DP_KMS_PENDING)
		return SETTLED;
	if (get_bytes(session, object, kind, 1) == LOST)
		return LOST;
	if (type == CK_KEY_RSA)
	{
		if (get_bytes(session, object, rsa, 2) == LOST)
			return LOST;
		ok = dp_public_key_rsa(first, rsa[0].len, second, rsa[1].len, key, &len);
	}
	else if (type == CK_KEY_EC || type == CK_KEY_EC_EDWARDS)
	{
		if (get_bytes(session, object, ec, 2) == LOST)
			return LOST;
		/* An Edwards point stands alone, or as an OCTET STRING. */
		if (type == CK_KEY_EC)
			ok = dp_public_key_ec(first, ec[0].len, second, ec[1].len, key, &len);
		else
			ok = ec[1].len >= DP_ED25519_PUBLIC_LEN && ec[1].len <= DP_ED25519_PUBLIC_LEN + 2 &&
				dp_public_key_ed25519(second + ec[1].len - DP_ED25519_PUBLIC_LEN, key, &len);
	}
	if (!ok || !dp_kms_call_public_key(call, key, (int) len))
		dp_kms_call_fail_unable(call);
	return SETTLED;
}

/* A key that signs must stay in the token as one that seals must. */
static Outcome
find_private_key(DpKmsCall *call, DpCkUlong session, DpCkUlong *out_key)
{
	unsigned char sensitive = 0;
	unsigned char extractable = 1;
	DpCkAttribute wanted[] = {
		{CK_ATTR_SENSITIVE, &sensitive, sizeof(sensitive)},
		{CK_ATTR_EXTRACTABLE, &extractable, sizeof(extractable)}
	};

	if (find_one(call, session, CK_CLASS_PRIVATE_KEY, "private key", out_key) == LOST)
		return LOST;
	if (call->status != DP_KMS_PENDING)
		return SETTLED;
	if (get_bytes(session, *out_key, wanted, lengthof(wanted)) == LOST)
		return LOST;
	if (!sensitive || extractable)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						 "The token would give the key away: it is extractable, or not sensitive.");
	return SETTLED;
}

/* RSA: the token hashes; ECDSA: we do, since few tokens hash for it; Ed25519 takes the message. */
static Outcome
attempt_sign(DpKmsCall *call, DpCkUlong session)
{
	DpSignatureAlgorithm algorithm = call->signature->algorithm;
	DpCkPss		pss = {CK_MECHANISM_SHA256, CK_MASK_SHA256, 32};
	DpCkMechanism mechanism = {CK_MECHANISM_SHA256_RSA_PSS, &pss, sizeof(pss)};
	DpCkUlong	key = 0;
	uint8		hash[DP_HASH_MAX];
	size_t		hash_len;
	uint8		raw[DP_KMS_SIGNATURE_MAX];
	DpCkUlong	raw_len = sizeof(raw);
	size_t		len = DP_KMS_SIGNATURE_MAX;
	const uint8 *message = call->digest;
	DpCkUlong	message_len = DP_KMS_DIGEST_LEN;
	bool		is_ecdsa = false;

	if (find_private_key(call, session, &key) == LOST)
		return LOST;
	if (call->status != DP_KMS_PENDING)
		return SETTLED;
	if (algorithm != DP_SIGNATURE_RSA_PSS_SHA256)
	{
		mechanism.mechanism = algorithm == DP_SIGNATURE_ED25519 ? CK_MECHANISM_EDDSA : CK_MECHANISM_ECDSA;
		mechanism.parameter = NULL;
		mechanism.parameter_len = 0;
	}
	if (mechanism.mechanism == CK_MECHANISM_ECDSA &&
		dp_signature_hash(algorithm, call->digest, DP_KMS_DIGEST_LEN, hash, &hash_len))
	{
		is_ecdsa = true;
		message = hash;
		message_len = hash_len;
	}
	if (CALL(CK_SIGN_INIT, (DpCkUlong, DpCkMechanism *, DpCkUlong), session, &mechanism, key) != CK_OK ||
		CALL(CK_SIGN, (DpCkUlong, const uint8 *, DpCkUlong, uint8 *, DpCkUlong *),
			 session, message, message_len, raw, &raw_len) != CK_OK)
		return LOST;
	if (!is_ecdsa)
	{
		memcpy(call->signature->signature, raw, raw_len);
		len = raw_len;
	}
	else if (!dp_ecdsa_der(raw, raw_len, call->signature->signature, &len))
		len = 0;
	call->signature->len = (int) len;
	call->status = DP_KMS_OK;	/* the job verifies it */
	return SETTLED;
}

/* ---- a key's state, and its end ---- */

static const DpCkUlong root_classes[] = {CK_CLASS_SECRET_KEY, CK_CLASS_PRIVATE_KEY, CK_CLASS_PUBLIC_KEY};

static Outcome
attempt_state(DpKmsCall *call, DpCkUlong session)
{
	DpCkUlong	found[2];
	DpCkUlong	n;
	DpCkUlong	all = 0;

	for (int i = 0; i < lengthof(root_classes); i++)
	{
		if (find_objects(call, session, root_classes[i], found, &n) == LOST)
			return LOST;
		all += n;
	}
	dp_kms_call_root(call, all > 0 ? DP_KMS_ROOT_ENABLED : DP_KMS_ROOT_DELETED, 0, NULL);
	return SETTLED;
}

/* What is destroyed is a token's own object, which takes a session that may write. */
static Outcome
attempt_destroy(DpKmsCall *call, DpCkUlong session)
{
	DpCkUlong	found[2];
	DpCkUlong	n;
	DpCkUlong	slot;
	DpCkUlong	writing;
	bool		ok = true;

	if (!find_slot(call->uri, &slot) ||
		CALL(CK_OPEN_SESSION, (DpCkUlong, DpCkUlong, void *, void *, DpCkUlong *),
			 slot, CK_SESSION_SERIAL | CK_SESSION_WRITE, NULL, NULL, &writing) != CK_OK)
		return LOST;
	for (int i = 0; ok && i < lengthof(root_classes); i++)
	{
		ok = find_objects(call, writing, root_classes[i], found, &n) == SETTLED;
		if (ok && n > 1)
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_UNDEFINED_OBJECT,
							 "The token has more than one key of that label.");
		if (call->status != DP_KMS_PENDING)
			break;
		if (ok && n == 1)
			ok = CALL(CK_DESTROY_OBJECT, (DpCkUlong, DpCkUlong), writing, found[0]) == CK_OK;
	}
	(void) CALL(CK_CLOSE_SESSION, (DpCkUlong), writing);
	if (!ok)
		return LOST;
	if (call->status == DP_KMS_PENDING)
		call->status = DP_KMS_OK;
	return SETTLED;
}

static Outcome
attempt(DpKmsCall *call)
{
	DpCkUlong	session = 0;

	if (start_module() != CK_OK || open_session(call, &session) == LOST)
		return LOST;
	if (call->status != DP_KMS_PENDING)
		return SETTLED;
	switch (call->operation)
	{
		case DP_KMS_OP_WRAP:
		case DP_KMS_OP_UNWRAP:
			return attempt_crypt(call, session);
		case DP_KMS_OP_PUBLIC_KEY:
			return attempt_public_key(call, session);
		case DP_KMS_OP_SIGN:
			return attempt_sign(call, session);
		case DP_KMS_OP_STATE:
			return attempt_state(call, session);
		case DP_KMS_OP_DESTROY:
			return attempt_destroy(call, session);
		case DP_KMS_OP_MAKE:
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED,
							 "Roots of this kind are made at the KMS.");
			return SETTLED;
	}
	return LOST;
}

static void
run(DpKmsCall *call)
{
	if (load_module(call) && attempt(call) == LOST)
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 "The token is not there, or does not do what it is asked to (%s with this key).",
						 call->operation == DP_KMS_OP_WRAP || call->operation == DP_KMS_OP_UNWRAP ? "AES-GCM" :
						 call->operation == DP_KMS_OP_SIGN ? dp_signature_name(call->signature->algorithm) : "look for or destroy");
}

static const DpChildJob in_child = {
	.run = run,
	.leave = stop_module,
	.alone = is_pin_unknown,
	.kept = &pins,
	.kept_len = sizeof(pins)
};

static void
pkcs11_begin(DpKmsCall *call)
{
	if (call->operation == DP_KMS_OP_UNWRAP &&
		(call->blob.len != BLOB_LEN || call->blob.data[0] != FORMAT))
	{
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
						 "The wrapped key was not made by a token.");
		return;
	}
	dp_child_begin(call, &in_child);
}

const DpKmsProvider dp_kms_provider_pkcs11 = {
	.name = "pkcs11",
	.begin = pkcs11_begin,
	.cancel = dp_child_cancel,
};
