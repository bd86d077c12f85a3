/*
 * kms.h
 *	  What the rest of the extension may ask of a key management service.
 *
 * Only the key agent (agent.c), one static background worker without a database
 * connection, talks to a KMS and holds its credentials.  Backends put a request
 * into shared memory, set the agent's latch and wait, interruptible, for the
 * result; requests for the same key id share one KMS call (single flight).
 *
 * An epoch key is the only key that a KMS ever wraps.  It is delivered into
 * shared memory by a callback of the keys layer (dp_kms_set_sink), never through
 * a request's reply.
 *
 * Errors are returned, not raised: DpKmsError carries the URI that failed, a
 * text without secrets, and the SQLSTATE that fits:
 *	  ERRCODE_CONNECTION_FAILURE		KMS or agent does not answer in time
 *	  ERRCODE_INSUFFICIENT_PRIVILEGE	URI not allowed, or the KMS refused
 *	  ERRCODE_UNDEFINED_OBJECT			the KMS knows no such root
 *	  ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE	root disabled or being deleted
 *	  ERRCODE_DATA_CORRUPTED			blob does not open, or is another key's
 *	  ERRCODE_CONFIG_FILE_ERROR			key file, credentials or settings unfit
 *	  ERRCODE_PROTOCOL_VIOLATION		the reply cannot be understood
 */
#ifndef DP_KMS_KMS_H
#define DP_KMS_KMS_H

#include "postgres.h"

#include "crypto/aead.h"
#include "crypto/public_key.h"
#include "kms/uri.h"

#define DP_KMS_MAX_URIS		4	/* URIs of one key */
#define DP_KMS_BLOB_MAX		1024	/* largest wrapped epoch key */

/* Authenticated by the KMS as its encryption context; never personal data. */
typedef struct DpKmsContext
{
	uint8		database_uid[16];
	uint64		key_id;			/* ignored by dp_kms_create */
	int32		version;		/* epoch number */
	DpKeyPurpose purpose;		/* DP_PURPOSE_EPOCH */
} DpKmsContext;

typedef struct DpKmsBlob
{
	int			len;
	uint8		data[DP_KMS_BLOB_MAX];
} DpKmsBlob;

/*
 * A signature by a root that signs.  The message that was signed is the digest's
 * DP_KMS_DIGEST_LEN bytes themselves, hashed again as the algorithm says; so, with
 * these bytes in a file, whoever has the public key verifies it by
 *		openssl pkeyutl -verify -rawin OPTIONS -pubin -keyform DER -inkey PUBLIC -in DIGEST -sigfile SIGNATURE
 * OPTIONS are dp_signature_openssl(algorithm); algorithm is one of the names of
 * dp_signature_name().  The public key is DER (SubjectPublicKeyInfo).
 */
#define DP_KMS_DIGEST_LEN		32
#define DP_KMS_SIGNATURE_MAX	1024
#define DP_KMS_PUBLIC_KEY_MAX	1024

typedef struct DpKmsSignature
{
	DpSignatureAlgorithm algorithm;
	int			version;		/* of the root, where its KMS counts them; else 0 */
	int			public_key_len;
	int			len;
	uint8		public_key[DP_KMS_PUBLIC_KEY_MAX];
	uint8		signature[DP_KMS_SIGNATURE_MAX];
} DpKmsSignature;

typedef enum DpKmsRootState
{
	DP_KMS_ROOT_UNKNOWN,		/* the KMS says something that we do not know */
	DP_KMS_ROOT_ENABLED,
	DP_KMS_ROOT_DISABLED,		/* there, and it opens nothing */
	DP_KMS_ROOT_PENDING,		/* will be deleted; may be cancelled at the KMS */
	DP_KMS_ROOT_DELETED			/* the KMS, which answers, has no such root */
} DpKmsRootState;

typedef struct DpKmsRoot
{
	DpKmsRootState state;
	int64		delete_at;		/* PENDING: seconds since 1970; 0: the KMS does not say */
	char		uri[DP_KMS_URI_MAX];	/* what names the root for good: an alias resolved */
} DpKmsRoot;

typedef struct DpKmsError
{
	int			sqlstate;
	char		uri[DP_KMS_URI_MAX];
	char		detail[256];	/* full sentence, no secret */
} DpKmsError;

/* Shared memory, GUC checks, worker registration; from _PG_init only. */
extern void dp_kms_init(void);

/*
 * Called in the agent for each epoch key that was made or unwrapped: the keys
 * layer copies it into its arena.  Must not raise errors.  Set at _PG_init.
 */
typedef void (*DpKmsSink) (Oid database, uint64 key_id, const uint8 key[DP_KEY_LEN]);
extern void dp_kms_set_sink(DpKmsSink sink);

/*
 * Called in a backend with the lock of the request slots held: true where the
 * arena holds a usable copy of the key.  It answers for a fetch that begins just
 * after another one delivered the key.  May take the arena's lock, nothing else;
 * must not raise errors.  Set at _PG_init.
 */
typedef bool (*DpKmsPresent) (Oid database, uint64 key_id);
extern void dp_kms_set_present(DpKmsPresent present);

/*
 * Raise an error unless the URI is well formed, of a known scheme, matches
 * dataprotect.kms_allowed (ERRCODE_INSUFFICIENT_PRIVILEGE) and its endpoint
 * obeys the rules (https, or loopback).  file:///path: the file itself is
 * examined by the agent.
 */
extern void dp_kms_check_uri(const char *uri);

/*
 * Make a new epoch key, wrap it under every URI (all must succeed) and deliver
 * it to the sink.  out_blobs: n_uris entries, in the order of uris.  Waits;
 * processes interrupts; call it without locks and outside critical sections.
 */
extern bool dp_kms_create(Oid database, const DpKmsContext *context,
						  const char *const *uris, int n_uris,
						  uint64 *out_key_id, DpKmsBlob *out_blobs,
						  DpKmsError *out_error) DP_MUST_CHECK;

/*
 * Unwrap an epoch key by the first URI that answers (healthy ones first), check
 * that its id is context->key_id, deliver it to the sink.  Concurrent calls for
 * one key id cost one KMS call, and a failure is remembered for a second.
 */
extern bool dp_kms_fetch(Oid database, const DpKmsContext *context,
						 const char *const *uris, const DpKmsBlob *blobs, int n_uris,
						 DpKmsError *out_error) DP_MUST_CHECK;

/*
 * Show that one URI opens the key now: always asks the KMS, delivers nothing.
 */
extern bool dp_kms_drill(Oid database, const DpKmsContext *context,
						 const char *uri, const DpKmsBlob *blob,
						 DpKmsError *out_error) DP_MUST_CHECK;

/*
 * Have an epoch key wrapped anew under one URI: by the root's newest version, where
 * its KMS rotates roots.  What is returned has been opened.
 */
extern bool dp_kms_rewrap(Oid database, const DpKmsContext *context, const char *uri,
						  DpKmsBlob *blob, DpKmsError *out_error) DP_MUST_CHECK;

/*
 * Unless the key was fetched within the soft TTL, ask the agent to fetch it
 * again, and do not wait.
 */
extern void dp_kms_refresh(Oid database, const DpKmsContext *context,
						   const char *const *uris, const DpKmsBlob *blobs, int n_uris);

/*
 * Sign a digest.  A root that wraps need not sign: at AWS, Vault and in tokens it
 * is a root of its own (RSA of 2048 bits or more, P-256, P-384, P-521, Ed25519);
 * file:///PATH signs with the Ed25519 key of PATH.ed25519, which is made where it is
 * missing.  What is returned has been verified.  Errors as above; a root that
 * cannot sign: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE.  out_signature may be
 * stored; nothing in it is secret.
 */
extern bool dp_kms_sign(const char *uri, const uint8 digest[DP_KMS_DIGEST_LEN],
						DpKmsSignature *out_signature, DpKmsError *out_error) DP_MUST_CHECK;

/*
 * Whether the signature is one of this root's, by the public key that its KMS
 * shows now: a stored public key proves nothing.  False: could not be asked.
 */
extern bool dp_kms_verify(const char *uri, const uint8 digest[DP_KMS_DIGEST_LEN],
						  const DpKmsSignature *signature, bool *out_good,
						  DpKmsError *out_error) DP_MUST_CHECK;

/* What the KMS says of a root now. */
extern bool dp_kms_root_state(const char *uri, DpKmsRoot *out_root, DpKmsError *out_error) DP_MUST_CHECK;

/*
 * Have the root destroyed, after so many days (7 to 30) where the KMS knows a
 * waiting period (AWS), AT ONCE where it does not (file, Vault, tokens); the state
 * afterwards is in out_root, and to be asked for again until it is DELETED, by
 * out_root->uri.  Of a root that is pending or deleted already nothing is changed.
 * The replicas of a multi-Region key go with it; a replica alone is refused.
 * Whether anything is still wrapped under the root is for the caller to know.
 */
extern bool dp_kms_schedule_destroy(const char *uri, int days, DpKmsRoot *out_root,
									DpKmsError *out_error) DP_MUST_CHECK;

/*
 * Make a root unless it is there, and is one to rely on: a file.  Elsewhere roots
 * are made at the KMS (ERRCODE_FEATURE_NOT_SUPPORTED).
 */
extern bool dp_kms_make_root(const char *uri, DpKmsError *out_error) DP_MUST_CHECK;

#endif							/* DP_KMS_KMS_H */
