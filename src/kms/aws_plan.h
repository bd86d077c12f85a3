/*
 * aws_plan.h
 *	  Where credentials for AWS come from, by environment and files: a base, and the
 *	  roles that are assumed on top of it, one after another.
 */
#ifndef DP_KMS_AWS_PLAN_H
#define DP_KMS_AWS_PLAN_H

#include "kms/aws_profile.h"

#define DP_AWS_MAX_ROLES 5		/* profiles that refer to each other */

typedef enum DpAwsBase
{
	DP_AWS_BASE_NONE,			/* problem says why */
	DP_AWS_BASE_KEYS,			/* in keys */
	DP_AWS_BASE_WEB_IDENTITY,	/* web */
	DP_AWS_BASE_PROCESS,		/* process */
	DP_AWS_BASE_CONTAINER,
	DP_AWS_BASE_INSTANCE
} DpAwsBase;

typedef struct DpAwsRole
{
	char		arn[256];
	char		session_name[65];
	char		external_id[1225];
} DpAwsRole;

typedef struct DpAwsPlan
{
	DpAwsBase	base;
	const char *problem;
	DpAwsCredentials keys;
	DpAwsRole	web;
	char		token_file[1024];
	char		process[1024];	/* command */
	int			n_roles;
	DpAwsRole	roles[DP_AWS_MAX_ROLES];	/* the last one is assumed first */
	char		region[64];		/* of STS; "": its global endpoint */
} DpAwsPlan;

/* Take keys out of the environment; once. */
extern void dp_aws_plan_init(void);

/* True where the files are as they were when the plan was made. */
extern bool dp_aws_plan_current(void);

extern void dp_aws_plan_make(DpAwsPlan *out);

#endif							/* DP_KMS_AWS_PLAN_H */
