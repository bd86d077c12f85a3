/*
 * show.h
 *	  What the current role may be shown of a value.
 */
#ifndef DP_TYPES_SHOW_H
#define DP_TYPES_SHOW_H

#include "postgres.h"

#include "access/access.h"
#include "types/typeinfo.h"
#include "types/value.h"

/* The privilege that decides: never DP_PRIV_SEARCH, which shows masks. */
extern DpPrivilege dp_show_privilege(const DpValue *value);

/* Open for showing, counted in the audit log; false where the key is unreadable. */
extern bool dp_show_open(const DpTypeInfo *info, const DpValue *value, Datum *out);

/* The mask in the base type; false for SQL NULL. */
extern bool dp_show_mask(const DpTypeInfo *info, const DpValue *value, Datum *out);

/* Text of a value for the current role, palloc'd. */
extern char *dp_show_text(const DpTypeInfo *info, const DpValue *value);

/* Error within COPY TO: masks would look like data when they are loaded again. */
extern void dp_show_refuse_copy(void);

/* One warning a statement and key. */
extern void dp_show_warn_unreadable(int32 family);

/*
 * While strict, a cast that would give a mask, or NULL for a value whose key is
 * unreadable, is an error: for statements that store what casts give.  Nests;
 * whoever begins ends it, after an error too.
 */
extern void dp_show_begin_strict(void);
extern void dp_show_end_strict(void);
extern bool dp_show_is_strict(void);

/* The error where strict; readable: it is the role's right that is missing. */
extern void dp_show_refuse_strict(int32 family, bool readable);

#endif							/* DP_TYPES_SHOW_H */
