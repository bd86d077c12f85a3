/*
 * guc.c
 *	  Definition of every setting, sorted by name (lint checks the order).
 */
#include "postgres.h"

#include <limits.h>

#include "base/guc.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define AUDIT_KEEP_LEAST	(548 * 24 * 60) /* 18 months */

static int	approval_period = 24 * 60 * 60; /* these are read in SQL */
static bool approvals = false;
static int	grant_confirmation = 0;
static char *default_kms_uri = NULL;	/* read by create_key(), in SQL */
static char *signing_kms_uri = NULL;	/* read by _signing_roots(), in SQL */
static int	unused_version_time = 0;	/* read by _destroy_unused_version(), in SQL */
char	   *dp_guc_start_kms_uri = NULL;
char	   *dp_guc_kms_allowed = NULL;
int			dp_guc_kms_timeout = 5000;
int			dp_guc_input = DP_INPUT_PLAINTEXT;
int			dp_guc_output = DP_OUTPUT_AUTO;
char	   *dp_guc_purpose = NULL;
int			dp_guc_key_cache_size = 16384;
int			dp_guc_key_cache_soft_ttl = 300;
int			dp_guc_key_cache_hard_ttl = 86400;
int			dp_guc_audit_mode = DP_AUDIT_BUFFERED;
int			dp_guc_audit_ring_size = 16384;
int			dp_guc_catalog_types = DP_CATALOG_AUTO;
char	   *dp_guc_audit_archive_directory = NULL;
char	   *dp_guc_audit_directory = NULL;
int			dp_guc_audit_keep = 0;
char	   *dp_guc_erasure_directory = NULL;
bool		dp_guc_pooled = false;
char	   *dp_guc_databases = NULL;
int			dp_guc_max_clock_step = 24 * 60 * 60;
int			dp_guc_max_workers = 3;
int			dp_guc_search_alert;
int			dp_guc_search_limit;
int			dp_guc_worker_naptime = 10;
int			dp_guc_progress_interval = 30000;
int			dp_guc_retention_batch_size = 1000;
int			dp_guc_retention_cost_delay = 0;
int			dp_guc_retention_replica_lag = 30;
char	   *dp_guc_jwt_audience = NULL;
char	   *dp_guc_jwt_issuer = NULL;
char	   *dp_guc_jwt_keys_file = NULL;
int			dp_guc_jwt_keys_refresh = 300;
char	   *dp_guc_jwt_keys_url = NULL;
int			dp_guc_jwt_leeway = 60;
int			dp_guc_jwt_lifetime = 24 * 60 * 60;
char	   *dp_guc_jwt_mfa = NULL;
int			dp_guc_jwt_replay = DP_JWT_REPLAY_REFUSE;
char	   *dp_guc_kms_aws_endpoint = NULL;
char	   *dp_guc_kms_ca_file = NULL;
char	   *dp_guc_kms_kmip_client_cert = NULL;
char	   *dp_guc_kms_kmip_server = NULL;
char	   *dp_guc_kms_vault_address = NULL;
char	   *dp_guc_kms_vault_client_cert = NULL;
char	   *dp_guc_kms_vault_login = NULL;
char	   *dp_guc_kms_vault_namespace = NULL;
char	   *dp_guc_kms_vault_role = NULL;
char	   *dp_guc_kms_vault_token_file = NULL;
char	   *dp_guc_kms_pkcs11_module = NULL;
char	   *dp_guc_kms_pkcs11_pin_file = NULL;

char	   *dp_guc_digest_directory = NULL;
int			dp_guc_digest_interval = 60;
char	   *dp_guc_sink_ca_file = NULL;
char	   *dp_guc_sink_s3_endpoint = NULL;
char	   *dp_guc_sink_secret_directory = NULL;
int			dp_guc_sink_timeout = 10000;
char	   *dp_guc_sinks_allowed = NULL;

static const struct config_enum_entry audit_mode_options[] = {
	{"buffered", DP_AUDIT_BUFFERED, false},
	{"durable", DP_AUDIT_DURABLE, false},
	{NULL, 0, false}
};

static const struct config_enum_entry catalog_types_options[] = {
	{"auto", DP_CATALOG_AUTO, false},
	{"base", DP_CATALOG_BASE, false},
	{"encrypted", DP_CATALOG_ENCRYPTED, false},
	{NULL, 0, false}
};

static const struct config_enum_entry input_options[] = {
	{"plaintext", DP_INPUT_PLAINTEXT, false},
	{"ciphertext", DP_INPUT_CIPHERTEXT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry jwt_replay_options[] = {
	{"refuse", DP_JWT_REPLAY_REFUSE, false},
	{"allow", DP_JWT_REPLAY_ALLOW, false},
	{NULL, 0, false}
};

static const struct config_enum_entry output_options[] = {
	{"auto", DP_OUTPUT_AUTO, false},
	{"mask", DP_OUTPUT_MASK, false},
	{"ciphertext", DP_OUTPUT_CIPHERTEXT, false},
	{NULL, 0, false}
};

/* A log that is cut short is what whoever has something to hide would ask for. */
static bool
check_audit_keep(int *newval, void **extra, GucSource source)
{
	if (*newval == 0 || *newval >= AUDIT_KEEP_LEAST)
		return true;
	GUC_check_errdetail("The audit log is kept for 548 days (18 months) at least, or for ever (0).");
	return false;
}

static void
define_audit_settings(void)
{
	DefineCustomIntVariable("dataprotect.approval_period",
							"Time within which an act is approved and done.", NULL,
							&approval_period, 24 * 60 * 60, 60, 90 * 24 * 60 * 60,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomBoolVariable("dataprotect.approvals",
							 "Whether dangerous acts need the approval of another administrator.", NULL,
							 &approvals, false,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.audit_archive_directory",
							   "Directory into which months of the audit log are written before they are dropped; empty for none.",
							   "Without it dataprotect.audit_keep drops nothing.",
							   &dp_guc_audit_archive_directory, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.audit_directory",
							   "Directory of the audit segments.",
							   "Relative to the data directory, or absolute.",
							   &dp_guc_audit_directory, "pg_dataprotect_audit",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.audit_keep",
							"Time for which the audit log stays in its table; 0 for ever.",
							"18 months (548 days) at least; a month goes as a whole, after it was written to dataprotect.audit_archive_directory.",
							&dp_guc_audit_keep, 0, 0, 100 * 366 * 24 * 60,
							PGC_SIGHUP, GUC_UNIT_MIN, check_audit_keep, NULL, NULL);
	DefineCustomEnumVariable("dataprotect.audit_mode",
							 "Whether a statement's audit intent is on disk before its first plaintext.",
							 NULL, &dp_guc_audit_mode, DP_AUDIT_BUFFERED, audit_mode_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.audit_ring_size",
							"Size of the memory-mapped audit ring.", NULL,
							&dp_guc_audit_ring_size, 16384, 256, 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomEnumVariable("dataprotect.catalog_types",
							 "Types that queries of the catalogs find protected columns to have.",
							 "\"auto\" shows base types to roles that may read the values.",
							 &dp_guc_catalog_types, DP_CATALOG_AUTO, catalog_types_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.databases",
							   "Databases that background workers visit, comma-separated, or \"*\".", NULL,
							   &dp_guc_databases, "*",
							   PGC_POSTMASTER, GUC_LIST_INPUT, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.default_kms_uri",
							   "KMS key that create_key() uses where none is named.", NULL,
							   &default_kms_uri, "",
							   PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.digest_directory",
							   "Directory into which signed digests of the audit log are written; empty for none.", NULL,
							   &dp_guc_digest_directory, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.digest_interval",
							"Time between two signed digests of the audit log.", NULL,
							&dp_guc_digest_interval, 60, 1, 86400,
							PGC_POSTMASTER, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.erasure_directory",
							   "Directory of the lists of erasures, which no backup of the server contains; empty for none.", NULL,
							   &dp_guc_erasure_directory, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.grant_confirmation",
							"Time after which a grant lapses that nobody has confirmed; 0 for never.",
							"It is told of two weeks before.",
							&grant_confirmation, 0, 0, 10 * 365 * 24 * 60 * 60,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomEnumVariable("dataprotect.input",
							 "Whether the text form enc:v1: is accepted as input.", NULL,
							 &dp_guc_input, DP_INPUT_PLAINTEXT, input_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}

static void
define_token_settings(void)
{
	DefineCustomStringVariable("dataprotect.jwt_audience",
							   "Audience that a token must be for.", NULL,
							   &dp_guc_jwt_audience, "",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.jwt_issuer",
							   "Issuer that a token must be from.", NULL,
							   &dp_guc_jwt_issuer, "",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.jwt_keys_file",
							   "JSON Web Key Set of the issuer of tokens; read for each token.", NULL,
							   &dp_guc_jwt_keys_file, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.jwt_keys_refresh",
							"Age at which the keys of the issuer of tokens are fetched again.", NULL,
							&dp_guc_jwt_keys_refresh, 300, 1, 24 * 60 * 60,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.jwt_keys_url",
							   "URL of the JSON Web Key Set of the issuer of tokens, where no file is set.",
							   "https only, unless the host is a loopback address.",
							   &dp_guc_jwt_keys_url, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.jwt_leeway",
							"Difference between the clocks of the issuer of tokens and of the server.", NULL,
							&dp_guc_jwt_leeway, 60, 0, 600,
							PGC_POSTMASTER, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.jwt_lifetime",
							"Longest time for which a token may be valid.", NULL,
							&dp_guc_jwt_lifetime, 24 * 60 * 60, 1, 30 * 24 * 60 * 60,
							PGC_POSTMASTER, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.jwt_mfa",
							   "Values of \"amr\", or of \"acr\", by which a token says that a second factor was shown, comma-separated.", NULL,
							   &dp_guc_jwt_mfa, "mfa",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("dataprotect.jwt_replay",
							 "Whether a token may be used more than once.", NULL,
							 &dp_guc_jwt_replay, DP_JWT_REPLAY_REFUSE, jwt_replay_options,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

static void
define_cache_settings(void)
{
	DefineCustomIntVariable("dataprotect.key_cache_hard_ttl",
							"Longest time for which a fetched key is used without the KMS.", NULL,
							&dp_guc_key_cache_hard_ttl, 86400, 1, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.key_cache_size",
							"Number of keys that the shared arena holds.", NULL,
							&dp_guc_key_cache_size, 16384, 128, 16 * 1024 * 1024,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.key_cache_soft_ttl",
							"Age at which a fetched key is refreshed in the background.", NULL,
							&dp_guc_key_cache_soft_ttl, 300, 1, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_kms_settings(void)
{
	DefineCustomStringVariable("dataprotect.kms_allowed",
							   "URI patterns of the KMS keys that may be used, comma-separated.",
							   "A pattern is a URI whose last character may be \"*\".",
							   &dp_guc_kms_allowed, "",
							   PGC_POSTMASTER, GUC_LIST_INPUT | GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_aws_endpoint",
							   "Endpoint of AWS KMS; empty for Amazon's own.",
							   "https only, unless the host is a loopback address.",
							   &dp_guc_kms_aws_endpoint, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_ca_file",
							   "Certificate authorities trusted for KMS connections; empty for the system's.", NULL,
							   &dp_guc_kms_ca_file, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_kmip_client_cert",
							   "PEM file with the client certificate and its key that the KMIP server is shown.", NULL,
							   &dp_guc_kms_kmip_client_cert, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_kmip_server",
							   "The KMIP server, as HOST or HOST:PORT.", NULL,
							   &dp_guc_kms_kmip_server, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_pkcs11_module",
							   "PKCS#11 module that reaches the tokens of pkcs11: keys.", NULL,
							   &dp_guc_kms_pkcs11_module, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_pkcs11_pin_file",
							   "File with the PIN of the tokens of pkcs11: keys.", NULL,
							   &dp_guc_kms_pkcs11_pin_file, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.kms_timeout",
							"Longest time that one KMS operation may take.", NULL,
							&dp_guc_kms_timeout, 5000, 100, 600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_vault_address",
							   "Address of Vault or OpenBao, as https://HOST:8200.",
							   "https only, unless the host is a loopback address.",
							   &dp_guc_kms_vault_address, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_vault_client_cert",
							   "PEM file with the client certificate and its key that Vault is shown; empty for none.", NULL,
							   &dp_guc_kms_vault_client_cert, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_vault_login",
							   "How to log in to Vault: approle, kubernetes or cert, with another mount as METHOD:MOUNT; empty for a token in kms_vault_token_file.", NULL,
							   &dp_guc_kms_vault_login, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_vault_namespace",
							   "Namespace within Vault; empty for none.", NULL,
							   &dp_guc_kms_vault_namespace, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_vault_role",
							   "Role to log in to Vault as; for approle its role id.", NULL,
							   &dp_guc_kms_vault_role, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.kms_vault_token_file",
							   "File with the token for Vault, read for each call.", NULL,
							   &dp_guc_kms_vault_token_file, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

static void define_last_settings(void);

void
dp_guc_init(void)
{
	define_audit_settings();
	define_token_settings();
	define_cache_settings();
	define_kms_settings();
	dp_guc_start_kms_uri = MemoryContextStrdup(TopMemoryContext, default_kms_uri);
	DefineCustomIntVariable("dataprotect.max_clock_step",
							"Difference to the time on record at which the server's clock is believed no more.",
							"Retention and deletion wait then; 0 believes any.",
							&dp_guc_max_clock_step, 24 * 60 * 60, 0, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.max_workers",
							"Background workers that go from database to database.", NULL,
							&dp_guc_max_workers, 3, 2, 64,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("dataprotect.output",
							 "Form in which protected values leave the server.", NULL,
							 &dp_guc_output, DP_OUTPUT_AUTO, output_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("dataprotect.pooled",
							 "Whether clients share sessions, so that their settings end with a transaction.",
							 "SET of a setting of dataprotect is an error then, SET LOCAL works.",
							 &dp_guc_pooled, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.progress_interval",
							"Time between two notices of how much of a long command is done.",
							"0 for none.",
							&dp_guc_progress_interval, 30000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.purpose",
							   "Purpose for which this session reads personal data.", NULL,
							   &dp_guc_purpose, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.retention_batch_size",
							"Rows that retention removes in one transaction.", NULL,
							&dp_guc_retention_batch_size, 1000, 1, 1000000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.retention_cost_delay",
							"Pause between two batches of retention.", NULL,
							&dp_guc_retention_cost_delay, 0, 0, 60000,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.retention_replica_lag",
							"Delay of a standby at which retention waits for it; 0 never waits.", NULL,
							&dp_guc_retention_replica_lag, 30, 0, INT_MAX / 1000,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.search_alert",
							"Different values that a role with \"search\" asks for in an hour before an alert; 0 for none.", NULL,
							&dp_guc_search_alert, 500, 0, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.search_limit",
							"Different values that a role with \"search\" may ask for in an hour; 0 for any number.", NULL,
							&dp_guc_search_limit, 0, 0, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	define_last_settings();
	MarkGUCPrefixReserved("dataprotect");
}

static void
define_last_settings(void)
{
	DefineCustomStringVariable("dataprotect.signing_kms_uri",
							   "KMS keys that sign certificates and lists of erasures, comma-separated; empty for the roots of the keys concerned.", NULL,
							   &signing_kms_uri, "",
							   PGC_SIGHUP, GUC_LIST_INPUT, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.sink_ca_file",
							   "Certificate authorities trusted for sinks of the audit log; empty for the system's.", NULL,
							   &dp_guc_sink_ca_file, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.sink_s3_endpoint",
							   "Endpoint of S3 for sinks of the audit log; empty for Amazon's own.",
							   "https only, unless the host is a loopback address.",
							   &dp_guc_sink_s3_endpoint, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.sink_secret_directory",
							   "Directory of the files that hold tokens and secrets of sinks.", NULL,
							   &dp_guc_sink_secret_directory, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.sink_timeout",
							"Longest time that one request to a sink of the audit log may take.", NULL,
							&dp_guc_sink_timeout, 10000, 100, 300000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("dataprotect.sinks_allowed",
							   "URI patterns of the sinks that the audit log may be sent to, comma-separated.",
							   "A pattern is a URI whose last character may be \"*\".",
							   &dp_guc_sinks_allowed, "",
							   PGC_POSTMASTER, GUC_LIST_INPUT | GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.unused_version_time",
							"Time after which a key version that another has replaced is destroyed once nothing is sealed under it; 0: never.", NULL,
							&unused_version_time, 0, 0, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("dataprotect.worker_naptime",
							"Time between two rounds of the background workers.", NULL,
							&dp_guc_worker_naptime, 10, 1, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}
