/*
 * provider.h
 *	  One kind of key management service, as the agent sees it.
 *
 * begin starts a call's operation and returns at once; a call that is over has a
 * status other than DP_KMS_PENDING, perhaps already on return.  A provider that
 * leaves it pending also has cancel, which gives up the call's resources and may
 * be called once, while it is pending.
 *
 * credentials_expiry, where there is one, says when the credentials that calls are
 * made with now expire, in seconds since 1970; 0: never, or it cannot know.
 *
 * What a request needs beyond one operation is the job's: that a signature is by
 * the public key, and that a root is looked at before and after its destruction.
 *
 * Providers run in the agent only, never block on a network, raise no errors
 * and log no secret.  The caller owns the call and its key, wipes the key, and
 * keeps both in place while the call is pending.
 */
#ifndef DP_KMS_PROVIDER_H
#define DP_KMS_PROVIDER_H

#include "kms/kms.h"

typedef enum DpKmsCallStatus
{
	DP_KMS_PENDING,
	DP_KMS_OK,
	DP_KMS_UNAVAILABLE,			/* may pass: worth a retry, counts for the circuit */
	DP_KMS_REFUSED				/* an answer, and it is no */
} DpKmsCallStatus;

typedef enum DpKmsOperation
{
	DP_KMS_OP_WRAP,				/* key, context -> blob */
	DP_KMS_OP_UNWRAP,			/* blob, context -> key */
	DP_KMS_OP_PUBLIC_KEY,		/* signature->version, or 0 -> public_key, version */
	DP_KMS_OP_SIGN,				/* digest, signature->algorithm and version -> signature */
	DP_KMS_OP_STATE,			/* -> root; a root that is not there is no failure */
	DP_KMS_OP_DESTROY,			/* root as STATE left it, days */
	DP_KMS_OP_MAKE				/* a root, unless it is there */
} DpKmsOperation;

typedef struct DpKmsCall
{
	/* set by the agent */
	DpKmsOperation operation;
	const DpKmsUri *uri;
	const DpKmsContext *context;
	int			timeout_ms;

	uint8	   *key;			/* DP_KEY_LEN bytes; wrap: in; unwrap: out */
	DpKmsBlob	blob;			/* wrap: out; unwrap: in */
	const uint8 *digest;		/* DP_KMS_DIGEST_LEN bytes */
	DpKmsSignature *signature;
	DpKmsRoot  *root;
	int			days;			/* destroy: the waiting period */

	/* set by the provider */
	DpKmsCallStatus status;
	int			sqlstate;		/* unless DP_KMS_OK */
	char		detail[256];	/* unless DP_KMS_OK: full sentence, no secret */
	void	   *transfer;		/* the provider's own, while pending */
} DpKmsCall;

typedef struct DpKmsProvider
{
	const char *name;
	void		(*begin) (DpKmsCall *call);
	void		(*cancel) (DpKmsCall *call);
	int64		(*credentials_expiry) (void);
} DpKmsProvider;

extern const DpKmsProvider dp_kms_provider_file;
extern const DpKmsProvider dp_kms_provider_aws;
extern const DpKmsProvider dp_kms_provider_pkcs11;
extern const DpKmsProvider dp_kms_provider_hcvault;
extern const DpKmsProvider dp_kms_provider_kmip;

/* The provider of a scheme. */
static inline const DpKmsProvider *
dp_kms_provider(DpKmsScheme scheme)
{
	switch (scheme)
	{
		case DP_KMS_SCHEME_FILE:
			return &dp_kms_provider_file;
		case DP_KMS_SCHEME_AWS:
			return &dp_kms_provider_aws;
		case DP_KMS_SCHEME_PKCS11:
			return &dp_kms_provider_pkcs11;
		case DP_KMS_SCHEME_HCVAULT:
			return &dp_kms_provider_hcvault;
		case DP_KMS_SCHEME_KMIP:
			return &dp_kms_provider_kmip;
	}
	return &dp_kms_provider_file;	/* keep compiler quiet */
}

/*
 * The context as bytes, for providers that authenticate bytes:
 *		database uid 16 | key id 8, big endian | version 4, big endian | purpose 2, big endian
 */
#define DP_KMS_CONTEXT_LEN (16 + 8 + 4 + 2)

extern void dp_kms_context_bytes(const DpKmsContext *context, uint8 out[DP_KMS_CONTEXT_LEN]);

/* Take a public key over from what a KMS sent; false where it does not fit. */
extern bool dp_kms_call_public_key(DpKmsCall *call, const uint8 *der, int len);

/* The call has found its root in this state; uri: NULL for the call's own. */
extern void dp_kms_call_root(DpKmsCall *call, DpKmsRootState state, int64 delete_at, const char *uri);

/* End a call without success: the KMS, or its kind, does not do this. */
extern void dp_kms_call_fail_unable(DpKmsCall *call);

/* End a call without success. */
extern void dp_kms_call_fail(DpKmsCall *call, DpKmsCallStatus status, int sqlstate,
							 const char *format,...) pg_attribute_printf(4, 5);

#endif							/* DP_KMS_PROVIDER_H */
