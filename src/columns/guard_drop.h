/*
 * guard_drop.h
 *	  Protected columns are not dropped with what they depend on.
 *
 * A column goes with its type: DROP EXTENSION, DROP TYPE, DROP SCHEMA and DROP
 * OWNED with CASCADE would take the values of whole tables along unasked.  Such
 * a command is refused at its end, when the catalogs show which tables it has
 * left without their columns; whoever drops the column or its table by name
 * means it.
 */
#ifndef DP_COLUMNS_GUARD_DROP_H
#define DP_COLUMNS_GUARD_DROP_H

#include "postgres.h"

extern void dp_guard_drop_init(void);

#endif							/* DP_COLUMNS_GUARD_DROP_H */
