/*
 * aws_credentials.h
 *	  Credentials for AWS, in the key agent only.
 *
 * In this order, as Amazon's own tools do:
 *	1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN in the server's
 *	   environment.  The agent removes them from its own environment; every other
 *	   process of the server still inherits them.
 *	2. The profile AWS_PROFILE, or "default", of AWS_SHARED_CREDENTIALS_FILE, or
 *	   of ~/.aws/credentials.  The file is read again whenever it changed.
 */
#ifndef DP_KMS_AWS_CREDENTIALS_H
#define DP_KMS_AWS_CREDENTIALS_H

#include "postgres.h"

typedef struct DpAwsCredentials
{
	char		access_key[128];
	char		secret_key[128];
	char		session_token[4096];	/* "": none */
} DpAwsCredentials;

/* Take over what the environment holds; once, when the agent starts. */
extern void dp_aws_credentials_init(void);

/*
 * The credentials of now, the module's own; NULL where there are none or they
 * cannot be read: *out_problem then is a full sentence without secrets.
 */
extern const DpAwsCredentials *dp_aws_credentials_get(const char **out_problem);

#endif							/* DP_KMS_AWS_CREDENTIALS_H */
