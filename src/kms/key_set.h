/*
 * key_set.h
 *	  The key set of the issuer of tokens, fetched by the key agent.
 *
 * From dataprotect.jwt_keys_url and from nowhere else: https with a verified
 * certificate, or a loopback address.  It is fetched when the agent starts, every
 * dataprotect.jwt_keys_refresh, and when a backend met a key that is not in it; a
 * fetch that fails leaves the set that is there, until it is a day old.  In shared
 * memory, under one lock; the keys are public.  What it holds is judged by who
 * reads it: here it is text that looks like a set.
 */
#ifndef DP_KMS_KEY_SET_H
#define DP_KMS_KEY_SET_H

#include "postgres.h"

#include "kms/http.h"

/*
 * In a backend: the set, NUL-terminated, or false and a sentence why there is none.
 * anew: one that was fetched after the call began, unless the issuer was asked a
 * moment ago.  Waits for the agent, interruptible, dataprotect.kms_timeout at most.
 */
extern bool dp_key_set_read(bool anew, char out[DP_HTTP_REPLY_MAX + 1], const char **out_problem);

/* In the agent: go on without waiting; ms until it wants to be called again, -1: any. */
extern int	dp_key_set_advance(void);

/* Shared memory; from dp_kms_init(). */
extern void dp_key_set_init(void);

/* Tell the log of a URL that cannot be used; at start. */
extern void dp_key_set_check_settings(void);

#endif							/* DP_KMS_KEY_SET_H */
