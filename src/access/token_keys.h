/*
 * token_keys.h
 *	  The keys of the issuer of tokens: a JSON Web Key Set (RFC 7517) in a file.
 */
#ifndef DP_ACCESS_TOKEN_KEYS_H
#define DP_ACCESS_TOKEN_KEYS_H

#include "postgres.h"

#include "access/token.h"

/*
 * True where a key of dataprotect.jwt_keys_file has signed the token.  The file is
 * read each time.  Errors: it cannot be read or is no key set.
 */
extern bool dp_token_keys_verify(const DpToken *token, const char *text);

#endif							/* DP_ACCESS_TOKEN_KEYS_H */
