/*
 * guc.h
 *	  Every setting of the extension.  Names are public; see doc/reference.md.
 *
 * All variables are read-only outside guc.c.  Settings that change the shared
 * layout are PGC_POSTMASTER.  No setting ever holds a secret.
 */
#ifndef DP_BASE_GUC_H
#define DP_BASE_GUC_H

#include "postgres.h"

typedef enum DpInputMode
{
	DP_INPUT_PLAINTEXT,
	DP_INPUT_CIPHERTEXT
} DpInputMode;

typedef enum DpOutputMode
{
	DP_OUTPUT_AUTO,				/* what the role's grants say */
	DP_OUTPUT_MASK,				/* never more than the mask */
	DP_OUTPUT_CIPHERTEXT		/* always the text form enc:v1: */
} DpOutputMode;

typedef enum DpAuditMode
{
	DP_AUDIT_BUFFERED,
	DP_AUDIT_DURABLE
} DpAuditMode;

typedef enum DpCatalogTypes
{
	DP_CATALOG_AUTO,			/* base types for who may read the values */
	DP_CATALOG_BASE,			/* for everybody */
	DP_CATALOG_ENCRYPTED		/* for nobody */
} DpCatalogTypes;

typedef enum DpJwtReplay
{
	DP_JWT_REPLAY_REFUSE,
	DP_JWT_REPLAY_ALLOW			/* until it runs out; access/token_replay.h */
} DpJwtReplay;

extern char *dp_guc_start_kms_uri;	/* default_kms_uri as it was at server start; "" = none */
extern char *dp_guc_kms_allowed;	/* comma-separated URI patterns; PGC_POSTMASTER */
extern int	dp_guc_kms_timeout; /* ms, one whole KMS operation */
extern int	dp_guc_input;		/* DpInputMode */
extern int	dp_guc_output;		/* DpOutputMode */
extern int	dp_guc_progress_interval;	/* ms; 0: whoever waits is not told */
extern char *dp_guc_purpose;	/* NULL or "": none stated */
extern int	dp_guc_key_cache_size;	/* entries of the arena; PGC_POSTMASTER */
extern int	dp_guc_key_cache_soft_ttl;	/* s */
extern int	dp_guc_key_cache_hard_ttl;	/* s */
extern int	dp_guc_audit_mode;	/* DpAuditMode */
extern int	dp_guc_audit_ring_size; /* kB; PGC_POSTMASTER */
extern int	dp_guc_catalog_types;	/* DpCatalogTypes; types/reflection.h */
extern char *dp_guc_audit_directory;	/* relative to the data directory, or absolute;
										 * PGC_POSTMASTER */
extern char *dp_guc_audit_archive_directory;	/* absolute path, or ""; PGC_POSTMASTER */
extern int	dp_guc_audit_keep;	/* minutes; 0: for ever */
extern char *dp_guc_jwt_audience;	/* these of tokens: PGC_POSTMASTER; access/identity.h */
extern char *dp_guc_jwt_issuer;
extern char *dp_guc_jwt_keys_file;
extern int	dp_guc_jwt_keys_refresh;	/* s; PGC_SIGHUP */
extern char *dp_guc_jwt_keys_url;	/* "": none */
extern int	dp_guc_jwt_leeway;	/* s */
extern int	dp_guc_jwt_lifetime;	/* s */
extern char *dp_guc_jwt_mfa;	/* comma-separated */
extern int	dp_guc_jwt_replay;	/* DpJwtReplay */
extern bool dp_guc_pooled;		/* settings end with their transaction (pooled.h) */
extern char *dp_guc_databases;	/* comma-separated, or "*"; PGC_POSTMASTER */
extern int	dp_guc_max_clock_step;	/* seconds; 0: any */
extern int	dp_guc_max_workers;
extern int	dp_guc_search_alert;	/* different constants an hour; 0: none */
extern int	dp_guc_search_limit;	/* likewise */
extern int	dp_guc_worker_naptime;	/* s */
extern int	dp_guc_retention_batch_size;	/* rows */
extern int	dp_guc_retention_replica_lag;	/* seconds; 0: never wait */
extern int	dp_guc_retention_cost_delay;	/* ms between batches */

extern char *dp_guc_kms_aws_endpoint;	/* "" = Amazon's; PGC_POSTMASTER */
extern char *dp_guc_kms_kmip_client_cert;	/* absolute path, or ""; PGC_POSTMASTER */
extern char *dp_guc_kms_kmip_server;	/* HOST[:PORT], or ""; PGC_POSTMASTER */
extern char *dp_guc_kms_pkcs11_module;	/* absolute path, or ""; PGC_POSTMASTER */
extern char *dp_guc_kms_pkcs11_pin_file;	/* likewise */
extern char *dp_guc_kms_vault_address;	/* "" = none; PGC_POSTMASTER, as all of Vault's */
extern char *dp_guc_kms_vault_client_cert;	/* "" = none */
extern char *dp_guc_kms_vault_login;	/* "" = the token file holds the token */
extern char *dp_guc_kms_vault_namespace;	/* "" = none */
extern char *dp_guc_kms_vault_role;
extern char *dp_guc_kms_vault_token_file;	/* absolute path, or "" */
extern char *dp_guc_kms_ca_file;	/* "" = system store; PGC_POSTMASTER */

extern char *dp_guc_digest_directory;	/* absolute path, or ""; PGC_POSTMASTER */
extern char *dp_guc_erasure_directory;	/* absolute path, or ""; PGC_POSTMASTER */
extern int	dp_guc_digest_interval; /* s; PGC_POSTMASTER */
extern char *dp_guc_sink_ca_file;	/* "" = system store; PGC_POSTMASTER, as all of sinks' but the
									 * time */
extern char *dp_guc_sink_s3_endpoint;	/* "" = Amazon's */
extern char *dp_guc_sink_secret_directory;	/* absolute path, or "" */
extern int	dp_guc_sink_timeout;	/* ms, one request */
extern char *dp_guc_sinks_allowed;	/* comma-separated URI patterns; "": none */

extern void dp_guc_init(void);

#endif							/* DP_BASE_GUC_H */
