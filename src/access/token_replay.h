/*
 * token_replay.h
 *	  Tokens that were used, so that none is used twice.
 *
 * Kept in shared memory until the token has run out.  A restart forgets them:
 * tokens that were issued before it are refused, since they may have been used.
 */
#ifndef DP_ACCESS_TOKEN_REPLAY_H
#define DP_ACCESS_TOKEN_REPLAY_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef enum DpTokenUse
{
	DP_TOKEN_FIRST,
	DP_TOKEN_USED,
	DP_TOKEN_FORGOTTEN,			/* issued before the memory begins */
	DP_TOKEN_NO_ROOM
} DpTokenUse;

/* Note the use of a token; what a rolled back transaction has used stays used. */
extern DpTokenUse dp_token_use(const char *issuer, const char *id, TimestampTz issued, TimestampTz until);

extern void dp_token_replay_init(void);

#endif							/* DP_ACCESS_TOKEN_REPLAY_H */
