/*
 * actor.h
 *	  Who is acting: the part of an audit record that is the same for all
 *	  statements of a session in one role.
 *
 * The authenticated role counts (SET SESSION AUTHORIZATION does not change it)
 * and the current role.  Personal fields are sealed once and used again until
 * one of them changes: sealing costs more than the rest of a record.
 */
#ifndef DP_EVENTS_ACTOR_H
#define DP_EVENTS_ACTOR_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "events/record.h"

/*
 * Seals personal fields under the database's audit key: the keys layer lies
 * above this one.  False where no key was ever created here.  May raise errors.
 */
typedef bool (*DpActorSealer) (const uint8 *in, Size len, bytea **out);
extern void dp_actor_set_sealer(DpActorSealer sealer);

/*
 * Look role names up now, where the catalog may be read, so that
 * dp_actor_fill() need not do it inside a comparison.
 */
extern void dp_actor_prepare(void);

/*
 * Set role, session_role, sealed, session and at of a record.  detail: a JSON
 * object or NULL.  The slices stay valid until the next call of dp_actor_fill.
 */
extern void dp_actor_fill(DpRecord *record, const char *detail);

/*
 * The same for others, of whom no more than their numbers are known: no client,
 * application or purpose.
 */
extern void dp_actor_fill_for(DpRecord *record, Oid session_role, Oid role, const char *detail);

/* The same for this session, for another database, whose key is not at hand: unsealed. */
extern void dp_actor_fill_elsewhere(DpRecord *record, const char *detail);

/*
 * The subject of a verified token is the actor until then, in place of what the
 * connection was authenticated with.  NULL: no more.  Cut to one byte less than
 * DP_ACTOR_SUBJECT.
 */
#define DP_ACTOR_SUBJECT 512
extern void dp_actor_set_subject(const char *subject, TimestampTz until);

/* Number of this backend's life; never 0. */
extern uint64 dp_actor_session(void);

#endif							/* DP_EVENTS_ACTOR_H */
