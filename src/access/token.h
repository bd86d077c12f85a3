/*
 * token.h
 *	  Reading a JSON Web Token (RFC 7515, compact form; RFC 7519).
 *
 * A token is hostile input until its signature is verified: it is read as strict
 * JSON by PostgreSQL's own parser, with no need of a server around it, so that it
 * can be fuzzed.  Nothing here verifies.
 */
#ifndef DP_ACCESS_TOKEN_H
#define DP_ACCESS_TOKEN_H

#include "postgres.h"

#include "crypto/jws.h"

#define DP_TOKEN_MAX	16384	/* bytes of a token */
#define DP_TOKEN_LIST	16		/* members of "aud" and of "amr" */
#define DP_TOKEN_NAME	255		/* bytes of "sub" and "jti" */

typedef struct DpToken
{
	DpJwsAlgorithm algorithm;
	char	   *kid;			/* NULL: none; as those below */
	char	   *issuer;
	char	   *subject;
	char	   *id;				/* "jti" */
	char	   *acr;
	char	   *audience[DP_TOKEN_LIST];
	int			n_audience;
	char	   *amr[DP_TOKEN_LIST];
	int			n_amr;
	int64		expires;		/* seconds since 1970; 0 with has_*: never given */
	int64		not_before;
	int64		issued;
	bool		has_expires;
	bool		has_not_before;
	bool		has_issued;

	const char *payload;		/* JSON, NUL-terminated, untouched */
	size_t		payload_len;
	const uint8 *signature;
	size_t		signature_len;
	size_t		signed_len;		/* the signature is over text[0..signed_len) */
} DpToken;

/*
 * NULL, or what is wrong with it: a sentence without anything of the token.  All that
 * the token points to lies in room, DP_TOKEN_ROOM bytes, which the caller wipes.
 */
#define DP_TOKEN_ROOM (4 * DP_TOKEN_MAX)
extern const char *dp_token_parse(const char *text, size_t len, char *room, DpToken *out);

#endif							/* DP_ACCESS_TOKEN_H */
