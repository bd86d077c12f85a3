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

/*
 * Open what is to be stored again in another form: an error for a role that may not
 * read it, and where it is unreadable.
 */
extern Datum dp_show_open_to_store(const DpTypeInfo *info, const DpValue *value);

/* The mask in the base type; false for SQL NULL. */
extern bool dp_show_mask(const DpTypeInfo *info, const DpValue *value, Datum *out);

/* The mask as text, palloc'd; NULL for SQL NULL. */
extern char *dp_show_mask_text(const DpTypeInfo *info, const DpValue *value);

/* Text of a value for the current role, palloc'd. */
extern char *dp_show_text(const DpTypeInfo *info, const DpValue *value);

/*
 * What the role gets in the place of a value.  hides: it is not the value itself,
 * and not its ciphertext.  gives: it is plain, or SQL NULL where plain is NULL.
 * A value that is lost for good hides nothing.
 */
extern bool dp_show_hides(const DpValue *value);
extern bool dp_show_gives(const DpTypeInfo *info, const DpValue *value, const Datum *plain);

/* Error within COPY TO, and where pg_dump reads rows: masks would look like data when they are loaded again. */
extern void dp_show_refuse_copy(void);

/* One warning a statement and key. */
extern void dp_show_warn_unreadable(int32 family);

#endif							/* DP_TYPES_SHOW_H */
