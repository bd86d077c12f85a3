/*
 * identity.h
 *	  Who is behind the session: the subject of a verified token.
 *
 * dataprotect.authenticate() verifies a JSON Web Token against the keys of its issuer.
 * From then on its subject is the actor in the audit log, and its claims satisfy what
 * grants ask for.  It ends with the transaction or the session, when the token runs
 * out, at the next token (a refused one, too), and at whatever poolers hand a session
 * on with: DISCARD ALL, RESET ALL, SET or RESET SESSION AUTHORIZATION.  One that was
 * taken in a transaction that rolls back ends with it.  It lives in this backend alone;
 * plans that need parallel workers run without while there is one.
 */
#ifndef DP_ACCESS_IDENTITY_H
#define DP_ACCESS_IDENTITY_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

/* Has a second factor been shown?  Narrows *until to when that ends. */
extern bool dp_identity_has_mfa(TimestampTz now, TimestampTz *until);

/* Does the token contain these claims (as jsonb's @> has it)? */
extern bool dp_identity_has_claims(Jsonb *wanted, TimestampTz now, TimestampTz *until);

/* Moves with each change of the identity. */
extern uint64 dp_identity_changes(void);

extern void dp_identity_init(void);

#endif							/* DP_ACCESS_IDENTITY_H */
