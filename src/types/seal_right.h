/*
 * seal_right.h
 *	  Who may seal new values under a named key.
 *
 * Sealing shows nothing, but uses the key up: whoever does it needs a reason.
 * One of these is enough, for the current role:
 *	- it is an administrator of dataprotect, or a superuser
 *	- it may search or reveal values under the key; who may only see masks would compare
 *	  them with guesses, by a unique index over a temporary table, or by their tokens
 *	- it may insert into or update a relation with a column under the key, also
 *	  inside arrays, domains and composites, that is not a temporary one, nor its own where
 *	  it is shown masks that tell equal values from others ("token")
 *	- the statement that runs writes such a relation, whose permissions the
 *	  executor has checked: a rule writes as the view's owner
 */
#ifndef DP_TYPES_SEAL_RIGHT_H
#define DP_TYPES_SEAL_RIGHT_H

#include "postgres.h"

#include "keys/keys.h"

/*
 * Errors with ERRCODE_INSUFFICIENT_PRIVILEGE where the role has no reason.
 * family: the caller's copy, since this reads tables.  True where the reason is "search"
 * alone: what is sealed is a constant that the role compares with (access/search_count.h).
 */
extern bool dp_seal_check_right(const DpFamily *family, Oid encrypted_type);

extern void dp_seal_right_init(void);

#endif							/* DP_TYPES_SEAL_RIGHT_H */
