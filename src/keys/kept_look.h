/*
 * kept_look.h
 *	  How long a look at keys or grants is kept where they change all the time.
 *
 * A change is noticed at the next question.  Where the next one follows before the
 * answer was used, a statement would do nothing but ask: so whoever has looked
 * keeps what it saw for a while, which is at least KEEP_MIN, and KEEP_TIMES as long
 * as it took to look, at most KEEP_MAX.  A look ends at once where the session does
 * anything else than go on with the rows of the same executor run or command: each
 * statement, FETCH and statement of a function looks anew (dp_statement_moment).
 * What this transaction changed itself ends it as well; that is for the owner of the
 * look to say.  One backend's; no lock.
 */
#ifndef DP_KEYS_KEPT_LOOK_H
#define DP_KEYS_KEPT_LOOK_H

#include "postgres.h"

#include "access/xact.h"
#include "base/statement.h"
#include "utils/timestamp.h"

#define KEEP_MIN	(20 * INT64CONST(1000)) /* microseconds */
#define KEEP_MAX	(1000 * INT64CONST(1000))
#define KEEP_TIMES	4

typedef struct DpKeptLook
{
	uint64		moment;			/* dp_statement_moment */
	TimestampTz statement;
	TimestampTz since;
	TimestampTz took;			/* reading what was asked for, so far */
} DpKeptLook;

static inline void
dp_look_begin(DpKeptLook *look)
{
	look->moment = dp_statement_moment;
	look->statement = GetCurrentStatementStartTimestamp();
	look->since = GetCurrentTimestamp();
	look->took = 0;
}

/* Reading something for it took from then until now. */
static inline void
dp_look_took(DpKeptLook *look, TimestampTz began)
{
	look->took += GetCurrentTimestamp() - began;
}

static inline bool
dp_look_is_kept(const DpKeptLook *look)
{
	TimestampTz now;

	if (look->moment != dp_statement_moment || look->statement != GetCurrentStatementStartTimestamp())
		return false;
	now = GetCurrentTimestamp();
	return look->since <= now &&
		now < look->since + look->took + Min(KEEP_MAX, Max(KEEP_MIN, KEEP_TIMES * look->took));
}

#endif							/* DP_KEYS_KEPT_LOOK_H */
