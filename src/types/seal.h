/*
 * seal.h
 *	  Sealing what a user writes.
 */
#ifndef DP_TYPES_SEAL_H
#define DP_TYPES_SEAL_H

#include "postgres.h"

#include "types/typeinfo.h"

/* Seal for a column of that modifier, or, with -1, as a literal. */
extern struct varlena *dp_seal_for(const DpTypeInfo *info, Datum plain, int32 typmod);

/*
 * The same for what was computed from stored values, padded as what is least bytes long is;
 * own: from such as the current role's own code sealed.
 */
extern struct varlena *dp_seal_computed(const DpTypeInfo *info, Datum plain, int32 typmod, Size least, bool own);

/*
 * True for a value that dp_seal_for() made from plaintext in this transaction:
 * whoever writes it had the plaintext, and pastes nothing.
 */
extern bool dp_seal_is_fresh(const struct varlena *datum);

/* Such a value that the current role's own code sealed: it knows the plaintext. */
extern bool dp_seal_is_own(const struct varlena *datum);

/* A value was sealed anew under another key: as fresh as it was before. */
extern void dp_seal_again(const struct varlena *before, const struct varlena *after);

/*
 * Run a function of the base type whose errors would quote the plaintext: they
 * are raised again without it.
 */
typedef Datum (*DpBaseCall) (const DpTypeInfo *info, void *arg);
extern Datum dp_seal_quietly(const DpTypeInfo *info, DpBaseCall call, void *arg);

/* Apply the base type's own modifier, as an assignment to such a column would. */
extern Datum dp_seal_apply_modifier(const DpTypeInfo *info, Datum plain, int32 typmod,
									bool is_explicit);

/* The text form enc:v1: from an administrator; an error for anybody else. */
extern bool dp_seal_takes_ciphertext(void);
extern struct varlena *dp_seal_accept_ciphertext(const char *armor, const DpTypeInfo *info);
extern void dp_seal_refuse_ciphertext(void);

/* A restore before its keys: what is stored now can be looked at when they are there. */
extern bool dp_seal_awaits_keys(void);

/*
 * Is what looks like the text form to be taken as any other text?  Where a plaintext
 * subscriber applies what somebody wrote into a column of plain text: refused, it
 * would stop the subscription.  What a publisher's protected column sent is not.
 */
extern bool dp_seal_takes_as_text(const char *armor);

#endif							/* DP_TYPES_SEAL_H */
