/*
 * aws_profile.h
 *	  What Amazon's tools keep in files and send as credentials: read, nothing more.
 *
 * Free of the server, so that it can be fuzzed.  Nothing allocates; the caller wipes
 * what it passed in and what it got.
 */
#ifndef DP_KMS_AWS_PROFILE_H
#define DP_KMS_AWS_PROFILE_H

#include "postgres.h"

typedef struct DpAwsCredentials
{
	char		access_key[128];
	char		secret_key[128];
	char		session_token[4096];	/* "": none */
	int64		expires_at;		/* seconds since 1970; 0: never */
} DpAwsCredentials;

/* One profile.  A setting that is absent, or too long to be one, is "". */
typedef struct DpAwsProfile
{
	bool		found;
	DpAwsCredentials keys;
	char		role_arn[256];
	char		source_profile[128];
	char		credential_source[32];
	char		token_file[1024];	/* web_identity_token_file */
	char		session_name[65];	/* role_session_name */
	char		external_id[1225];
	char		region[64];
	char		process[1024];	/* credential_process */
} DpAwsProfile;

/*
 * Take over what the text of a file says of a profile and out does not have yet; the
 * text is cut up.  Sections are "[NAME]", in a config file "[profile NAME]" but for
 * "[default]".  Lines that belong to an empty setting before them (indented) are
 * skipped.
 */
extern void dp_aws_profile_read(char *text, const char *name, bool is_config, DpAwsProfile *out);

/* Credentials out of an answer of STS (XML).  False where it does not hold exactly one set. */
extern bool dp_aws_answer_sts(char *text, size_t len, DpAwsCredentials *out);

/* The code of an error of STS: a plain word, else NULL; in the text. */
extern char *dp_aws_answer_sts_code(char *text, size_t len);

/* Credentials out of an answer of a metadata or container endpoint (JSON). */
extern bool dp_aws_answer_json(char *text, size_t len, DpAwsCredentials *out);

/* Credentials that a program printed (credential_process, version 1); without a time they never expire. */
extern bool dp_aws_answer_process(char *text, size_t len, DpAwsCredentials *out);

/*
 * The words of a command, in place, NULL behind the last: between white space, without the
 * quotes around parts of them, as a shell has them and with nothing else of a shell's.
 * False where there is none, more than max, or a quote that does not end.
 */
extern bool dp_aws_command_split(char *text, char **words, int max);

/* "2026-01-31T12:00:00Z" as seconds since 1970; 0 where it is no such time. */
extern int64 dp_aws_time(const char *text);

#endif							/* DP_KMS_AWS_PROFILE_H */
