/*
 * aws_credentials.h
 *	  Credentials for AWS, in the key agent only.
 *
 * The first of these that is set up counts, as with Amazon's command line; where it
 * then does not work, that is an error, and not a reason to try the next:
 *	1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN in the server's
 *	   environment.  The agent removes them from its own environment; every other
 *	   process of the server still inherits them.
 *	2. role_arn of the profile AWS_PROFILE, or "default", with source_profile or
 *	   credential_source: STS AssumeRole, over several profiles if need be.
 *	3. AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, or web_identity_token_file and
 *	   role_arn of the profile: STS AssumeRoleWithWebIdentity.
 *	4. Keys of the profile in AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials), then in
 *	   AWS_CONFIG_FILE (~/.aws/config).  Both files are read again when they changed.
 *	5. credential_process of the profile: a program by its full path (aws_process.h).
 *	6. The container's endpoint: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI.
 *	7. The instance's metadata, version 2 (IMDSv2), unless AWS_EC2_METADATA_DISABLED is
 *	   true.  Version 1 is never asked.
 *
 * What expires is fetched anew beforehand, while what there is goes on being used.
 * STS is asked in AWS_REGION, AWS_DEFAULT_REGION or the profile's region, else at its
 * global endpoint; AWS_ENDPOINT_URL_STS and AWS_EC2_METADATA_SERVICE_ENDPOINT are heeded.
 * Plain http goes to loopback and to Amazon's link-local addresses, nowhere else.
 */
#ifndef DP_KMS_AWS_CREDENTIALS_H
#define DP_KMS_AWS_CREDENTIALS_H

#include "kms/aws_profile.h"
#include "kms/transfer.h"

typedef enum DpAwsState
{
	DP_AWS_READY,
	DP_AWS_FETCHING,			/* park in dp_aws_credentials_parking */
	DP_AWS_UNREACHABLE,			/* may pass */
	DP_AWS_NONE
} DpAwsState;

/* Whoever waits for credentials that are being fetched. */
extern DpKmsParking dp_aws_credentials_parking;

/* Take over what the environment holds; once, when the agent starts. */
extern void dp_aws_credentials_init(void);

/*
 * READY: *out are the credentials of now, the module's own, until the next call.
 * UNREACHABLE, NONE: *out_problem is a full sentence without secrets.
 */
extern DpAwsState dp_aws_credentials_get(const DpAwsCredentials **out, const char **out_problem);

/* A program that prints them has perhaps ended; dp_http_wait() wakes up for it. */
extern void dp_aws_credentials_perform(void);

/* In how many milliseconds to look for that; -1: none runs. */
extern int	dp_aws_credentials_timeout(void);

/* AWS did not take them: what was fetched is fetched anew, once a minute at most. */
extern void dp_aws_credentials_refused(void);

/* When those of now expire, in seconds since 1970; 0: never, or there are none. */
extern int64 dp_aws_credentials_expiry(void);

#endif							/* DP_KMS_AWS_CREDENTIALS_H */
