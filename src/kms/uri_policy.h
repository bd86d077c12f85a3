/*
 * uri_policy.h
 *	  Judging the dataprotect.kms_* settings; URIs are judged by
 *	  dp_kms_check_uri() in kms.h.
 */
#ifndef DP_KMS_URI_POLICY_H
#define DP_KMS_URI_POLICY_H

#include "kms/kms.h"

/* May the KMS be asked about keys of this URI? dataprotect.kms_allowed says, and
 * what dataprotect.default_kms_uri was at server start. */
extern bool dp_kms_uri_permitted(const char *uri);

/* False, with a full sentence, where dataprotect.kms_aws_endpoint breaks the
 * rules (https, or loopback). */
extern bool dp_kms_endpoint_usable(const char **out_problem);

/* Warn in the server's log about settings that cannot work; at start. */
extern void dp_kms_check_settings(void);

#endif							/* DP_KMS_URI_POLICY_H */
