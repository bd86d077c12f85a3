/*
 * personal.h
 *	  The fields of a record that lie sealed.
 */
#ifndef DP_AUDIT_PERSONAL_H
#define DP_AUDIT_PERSONAL_H

#include "postgres.h"

#include "events/record.h"

/*
 * Open what a record holds sealed; false where it does not open.  What it finds
 * lies in the current memory context.  Asks nobody's rights.
 */
extern bool dp_audit_open_sealed(bytea *sealed, DpPersonal *out);

#endif							/* DP_AUDIT_PERSONAL_H */
