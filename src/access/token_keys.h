/*
 * token_keys.h
 *	  The keys of the issuer of tokens: a JSON Web Key Set (RFC 7517) in a file, or
 *	  at a URL (kms/key_set.h).
 */
#ifndef DP_ACCESS_TOKEN_KEYS_H
#define DP_ACCESS_TOKEN_KEYS_H

#include "postgres.h"

#include "access/token.h"

/*
 * True where a key of the issuer has signed the token.  dataprotect.jwt_keys_file is
 * read each time; what dataprotect.jwt_keys_url names is what the agent fetched last,
 * or, where the token names a key that is not in it, fetches now.  Errors: it cannot
 * be read or is no key set.
 */
extern bool dp_token_keys_verify(const DpToken *token, const char *text);

#endif							/* DP_ACCESS_TOKEN_KEYS_H */
