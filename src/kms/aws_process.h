/*
 * aws_process.h
 *	  A program that prints credentials for AWS (credential_process), in the key agent.
 *
 * One at a time.  It is run as it stands in the file, with no shell, by its full path,
 * as the server's user: whoever writes that file could do as much.  It gets the agent's
 * environment, from which the agent has taken secrets, nothing to read, and nobody reads
 * what it prints as errors.  One that is not done in time is killed.
 */
#ifndef DP_KMS_AWS_PROCESS_H
#define DP_KMS_AWS_PROCESS_H

#include "kms/aws_profile.h"

typedef enum DpAwsProcessEnd
{
	DP_AWS_PROCESS_NONE,		/* goes on, or none was started */
	DP_AWS_PROCESS_DONE,
	DP_AWS_PROCESS_FAILED,		/* could not be run, or has said so by its status */
	DP_AWS_PROCESS_LATE
} DpAwsProcessEnd;

/* False where no process could be had. */
extern bool dp_aws_process_start(const char *command, int timeout_ms);

/*
 * What has become of it, without waiting; dp_http_wait() wakes up for it.  DONE: *out_text
 * are *out_len bytes and room for one more, good until the next start; the caller wipes them.
 */
extern DpAwsProcessEnd dp_aws_process_look(char **out_text, Size *out_len);

/* In how many milliseconds to look at the latest; -1: none runs. */
extern int	dp_aws_process_timeout(void);

/* Nobody waits for it any more. */
extern void dp_aws_process_cancel(void);

#endif							/* DP_KMS_AWS_PROCESS_H */
