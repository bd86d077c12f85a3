/*
 * access.h
 *	  What the current role may see of values under a named key.
 *
 * The answer is for GetUserId() at the moment of the call, for the authenticated
 * user where that is a superuser (SET ROLE gives it nothing), and for the owners of
 * foreign functions that are running: the weakest of them.
 * Being a superuser, the table's owner or a member through superuser-ness
 * counts for nothing.  Cached by role, family and policy generation.
 */
#ifndef DP_ACCESS_ACCESS_H
#define DP_ACCESS_ACCESS_H

#include "postgres.h"

#include "base/compat.h"

typedef enum DpPrivilege
{
	DP_PRIV_NONE,				/* ciphertext text, no operation */
	DP_PRIV_MASK,				/* the value is its mask */
	DP_PRIV_SEARCH,				/* masked, and = against a constant or parameter */
	DP_PRIV_REVEAL				/* plaintext, every operator */
} DpPrivilege;

extern DpPrivilege dp_access_privilege(int32 family);

/*
 * For whoever asks the same of the same keys again and again: what the answers went
 * by.  Unchanged: they still hold; never said where they depend on the time, a purpose
 * or foreign code.
 */
typedef struct DpAccessMark
{
	bool		valid;
	Oid			role;
	uint64		policy;
	uint64		keys;
	uint64		changes;
	uint64 identity;
	uint64		forgotten;
} DpAccessMark;

/* After answers that were just given. */
extern void dp_access_mark(DpAccessMark *mark);
extern bool dp_access_is_unchanged(const DpAccessMark *mark);

/* Reveal on every key of the database? */
extern bool dp_access_reveals_all(void);

/* Has one role more of some key than another, by their own grants? */
extern bool dp_access_exceeds(Oid role, Oid other);

/*
 * Does membership of a role give a right: a grant on a key that is not revoked,
 * whatever its conditions, or a role of dataprotect; its own or another's whose
 * member it is.
 */
extern bool dp_access_role_matters(Oid role);

/* Raise ERRCODE_INSUFFICIENT_PRIVILEGE naming the key and what is needed. */
pg_noreturn extern void dp_access_denied(int32 family, const char *needed);

extern void dp_access_init(void);

/* role_drop.c; from dp_access_init. */
extern void dp_role_drop_init(void);

#endif							/* DP_ACCESS_ACCESS_H */
