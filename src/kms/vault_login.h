/*
 * vault_login.h
 *	  Tokens for Vault or OpenBao, in the key agent only.
 *
 * dataprotect.kms_vault_login says where from:
 *	""					the token is in kms_vault_token_file, read for each call, so that one
 *						that an agent of Vault's renews takes effect at once
 *	approle[:MOUNT]		role id kms_vault_role, secret id in kms_vault_token_file
 *	kubernetes[:MOUNT]	role kms_vault_role, the service account's token in
 *						kms_vault_token_file (where Kubernetes puts it, if that is not set)
 *	cert[:MOUNT]		role kms_vault_role (may be empty), certificate kms_vault_client_cert
 *
 * A token of a login is renewed after two thirds of its life, or fetched anew where it
 * is not renewable, comes to its end or was refused.  All is in the namespace
 * kms_vault_namespace.
 */
#ifndef DP_KMS_VAULT_LOGIN_H
#define DP_KMS_VAULT_LOGIN_H

#include "kms/transfer.h"

typedef enum DpVaultState
{
	DP_VAULT_READY,
	DP_VAULT_FETCHING,			/* park in dp_vault_parking */
	DP_VAULT_UNREACHABLE,		/* may pass */
	DP_VAULT_NONE
} DpVaultState;

extern DpKmsParking dp_vault_parking;

/*
 * READY: *out_header is "X-Vault-Token: ...", the module's own, until the next call.
 * UNREACHABLE, NONE: *out_problem is a full sentence without secrets.
 */
extern DpVaultState dp_vault_token(const char **out_header, const char **out_problem);

/* Vault did not take it.  True where another login may bring a better one. */
extern bool dp_vault_token_refused(void);

/*
 * When the token of a login expires, in seconds since 1970; 0: never, there is none, or
 * it is one of a file, which does not say.
 */
extern int64 dp_vault_token_expiry(void);

/* ADDRESS/v1/path; false: *out_problem. */
extern bool dp_vault_url(const char *path, char *out, Size out_size, bool *out_loopback, const char **out_problem);

/* "X-Vault-Namespace: ...", or NULL; and the file of kms_vault_client_cert, or NULL. */
extern const char *dp_vault_namespace(void);
extern const char *dp_vault_client_cert(void);

#endif							/* DP_KMS_VAULT_LOGIN_H */
