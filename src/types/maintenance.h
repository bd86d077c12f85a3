/*
 * maintenance.h
 *	  Why a function of an encrypted type is being called.
 */
#ifndef DP_TYPES_MAINTENANCE_H
#define DP_TYPES_MAINTENANCE_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/sortsupport.h"

/* Interrupts are held: an index page is locked.  Nothing may wait. */
#define DP_IN_COMPARATOR()	(InterruptHoldoffCount > 0)

/*
 * True where an index access method or a referential-integrity query calls:
 * such calls compare without showing, whatever the role.  equality: the call asks
 * for "=" and nothing more, all that referential integrity ever does.
 */
extern bool dp_maintenance_calls(FunctionCallInfo fcinfo, bool equality);

/* True while a foreign key is checked or cascades; not in what that calls. */
extern bool dp_maintenance_is_referential(void);

/* Has nothing that a user wrote been entered since the innermost frame began? */
extern bool dp_maintenance_nothing_entered(void);

/* True where a sort that is being set up serves the build of an index. */
extern bool dp_maintenance_sorts(SortSupport ssup);

#endif							/* DP_TYPES_MAINTENANCE_H */
