/*
 * reseal.h
 *	  Stored values under the current version of their keys.
 *
 * What was sealed is opened and sealed again as it stands, compression, padding
 * and token included: nothing is decoded, nobody reads it.  Whether a key's values
 * are brought over, and to which key, is decided once for each key of a batch.
 *
 * A value stays as it is where its key is current, where no key takes over (the
 * named key or the account is suspended or destroyed, the key expires and a
 * version is a period), and where it does not authenticate.
 */
#ifndef DP_COLUMNS_RESEAL_H
#define DP_COLUMNS_RESEAL_H

#include "postgres.h"

typedef struct DpReseal DpReseal;

/* For one transaction, in the current memory context. */
extern DpReseal *dp_reseal_begin(void);

/*
 * The same of literals in definitions, which are under the system's own key and
 * nothing else: brought over to the literal key that seals now.
 */
extern DpReseal *dp_reseal_begin_literals(void);

/* Is anything inside a value to be brought over?  Opens nothing; claims keys for accounts. */
extern bool dp_reseal_wants(DpReseal *reseal, Oid typid, Datum value);

/*
 * The value with everything inside it brought over, palloc'd; or the value
 * itself, and false, where nothing is.
 */
extern bool dp_reseal_value(DpReseal *reseal, Oid typid, Datum value, Datum *out);

/* How many values dp_reseal_value() has sealed. */
extern int64 dp_reseal_count(const DpReseal *reseal);

#endif							/* DP_COLUMNS_RESEAL_H */
