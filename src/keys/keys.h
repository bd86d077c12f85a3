/*
 * keys.h
 *	  Named keys, their versions, subject keys, and the shared arena.
 *
 * A "family" is one named key of one database: the unit of grants, masks and
 * states.  Every data or subject key belongs to a family; a key id names one
 * key.  Keys are found by key id: backend-local contexts first, then the arena
 * (copied out under its lock), then the row in dataprotect.key_version, read by
 * the catalog snapshot and unwrapped under its epoch key, then the KMS agent.
 *
 * Contexts returned here belong to a backend-local cache: valid until the next
 * call of any dp_keys_ function, never freed by the caller.
 */
#ifndef DP_KEYS_KEYS_H
#define DP_KEYS_KEYS_H

#include "postgres.h"

#include "crypto/envelope.h"
#include "datatype/timestamp.h"

typedef enum DpKeyState
{
	DP_KEY_ACTIVE = 'a',
	DP_KEY_RETIRED = 'r',		/* opens, seals nothing new */
	DP_KEY_SUSPENDED = 's',		/* opens nothing until resumed */
	DP_KEY_DESTROYED = 'd',		/* gone for good: tombstone */
	DP_KEY_SPARE = 'p'			/* minted subject key nobody claimed yet */
} DpKeyState;

/* Copy of a row of dataprotect.key. */
typedef struct DpFamily
{
	int32		family;
	NameData	name;
	char		state;			/* DpKeyState */
	uint64		current_key_id; /* seals from now on; 0: none */
	int32		current_version;
	bool		has_keep;		/* expiring key */
	char		mask[64];		/* canonical mask text */
} DpFamily;

/* How a key is about to be used. */
typedef enum DpKeyUse
{
	DP_USE_READ,				/* show or compare: suspended keys do not open */
	DP_USE_MAINTAIN				/* index maintenance, re-sealing: they do */
} DpKeyUse;

typedef enum DpKeyStatus
{
	DP_KEY_OK,
	DP_KEY_UNREADABLE			/* suspended, expired or destroyed: reads as NULL */
} DpKeyStatus;

typedef struct DpKey
{
	uint64		key_id;
	int32		family;
	DpKeyPurpose purpose;
	DpAead	   *aead;			/* NULL where status is not DP_KEY_OK */
} DpKey;

/*
 * Key by id.  Raises an error where no such key exists in this database
 * (ERRCODE_UNDEFINED_OBJECT, same text whatever the value) or where its epoch
 * key can be had neither from the arena nor from the KMS
 * (ERRCODE_DATAPROTECT_KMS..., names key and KMS).
 * in_comparator: never waits, never takes a heavyweight lock; a miss is a
 * retryable error (ERRCODE_T_R_SERIALIZATION_FAILURE).
 */
extern DpKeyStatus dp_keys_get(uint64 key_id, DpKeyUse use, bool in_comparator, DpKey *out);

/*
 * The family that a key id belongs to, without needing the key itself: access
 * is decided while the KMS may be away.  0: a system key; see out_purpose.
 */
extern int32 dp_keys_family_of(uint64 key_id, bool in_comparator, DpKeyPurpose *out_purpose);

/* The family of that name, or an error with a hint; by number likewise.
 * Pointers stay valid until the next call. */
extern const DpFamily *dp_keys_family_by_name(const char *name);
extern const DpFamily *dp_keys_family_find(const char *name);	/* NULL: none */
extern const DpFamily *dp_keys_family(int32 family);

/* The key that seals new values of a family; errors where it is not active. */
extern void dp_keys_for_seal(const DpFamily *family, DpKey *out);

/*
 * The database's literal key.  False where no key was ever created: then it is
 * one that hides nothing, and there is no PRF.
 */
extern bool dp_keys_literal(DpKey *out);

/*
 * Seals of a key that only this transaction sees, reserved by _reserve_seals() in it: others
 * are reserved, and committed, where they are asked for.
 */
extern void dp_keys_give_seals(uint64 key_id, uint32 n);

/* Was a key ever created here, or restored?  Opens nothing. */
extern bool dp_keys_are_there(void);

/* That one: no row of the key table has it. */
extern bool dp_keys_is_open_literal(uint64 key_id);

/* The database's PRF; an error where no key was ever created. */
extern DpPrf *dp_keys_prf(void);

/*
 * The key of one account under a family: claimed for it in the caller's
 * transaction where it has none yet (from committed spares).  Errors:
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE for a tombstone or a suspended one.
 */
extern void dp_keys_for_subject(const DpFamily *family, const char *account_type,
								const char *subject, DpKey *out);

/*
 * The id of the account's newest key, or 0 where it has none.  Opens nothing.
 * After a rotation of the named key it goes on opening, and
 * dp_keys_for_subject() claims another.
 */
extern uint64 dp_keys_subject_id(int32 family, const char *account_type, const char *subject);

/* Is it the account's, the newest one or an older one? */
extern bool dp_keys_subject_owns(int32 family, const char *account_type, const char *subject,
								 uint64 key_id);

/*
 * The key that takes the place of an account's key that another version of its
 * named key has overtaken.  False where none does, or where the account or the
 * named key is closed.
 */
extern bool dp_keys_subject_successor(uint64 key_id, DpKey *out);

/* Seal or open under the audit key; false where no key was ever created. */
extern bool dp_keys_audit_seal(const uint8 *in, Size len, bytea **out);
extern bool dp_keys_audit_open(const uint8 *in, Size len, bytea **out);

/* The audit chain's PRF, or NULL where no key was ever created; good until keys are looked up again. */
extern DpPrf *dp_keys_audit_chain(void);

/* Of that chain key, current or replaced; 0: the current one.  NULL where it is none of this database's. */
extern DpPrf *dp_keys_audit_chain_of(uint64 key_id);

/* The id of the current one, 0 where no key was ever created. */
extern uint64 dp_keys_audit_chain_id(void);

/* Load every version of a family into the arena (before ordered indexes open). */
extern void dp_keys_preload(int32 family);

/* Of every family, where it is not known which indexes will be opened; no error where the KMS is away. */
extern void dp_keys_preload_all(void);

/* The search and literal keys likewise; no error where the KMS is away. */
extern void dp_keys_preload_system(void);

/*
 * Generations: bumped after commit, that of keys by any change of keys and their
 * masks, that of policy by these and by changes of grants and trusted functions;
 * local caches compare and start afresh.  Grants change more often than keys: what
 * does not depend on them compares with the generation of keys alone.
 *
 * These are the ones that this backend goes by: the shared ones, or, in the middle
 * of a statement while they move all the time, the last that it looked at
 * (kept_look.h).  Whoever decided under that of policy says since when.
 */
extern uint64 dp_keys_generation(void);
extern uint64 dp_policy_generation(void);
extern void dp_policy_look_took(TimestampTz began);

/* Have the next question look at what keys are now, in the middle of a statement too. */
extern void dp_keys_look_again(void);

/* Forget what this backend knows, before the generation says so; of policy only grants. */
extern void dp_keys_forget(void);
extern void dp_policy_forget(void);

/*
 * Count the calls of dp_keys_forget(), and of both: what is cached from the key
 * tables, or from the key and grant tables, starts afresh when they move.
 */
extern uint64 dp_keys_local_changes(void);
extern uint64 dp_policy_local_changes(void);

/*
 * Counts how often this backend has let go of the keys that it used (held_keys.h):
 * what dp_keys_preload() and dp_keys_preload_system() brought goes as well.
 */
extern uint64 dp_keys_times_let_go(void);

extern void dp_keys_init(void);

#endif							/* DP_KEYS_KEYS_H */
