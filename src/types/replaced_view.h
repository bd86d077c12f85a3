/*
 * replaced_view.h
 *	  CREATE OR REPLACE VIEW over protected columns.
 *
 * A view's columns keep their types.  One that showed a protected column as it is may
 * be replaced by an expression over it, and the other way about, as over plain
 * columns: what the new query gives is cast to the type that the column has.
 */
#ifndef DP_TYPES_REPLACED_VIEW_H
#define DP_TYPES_REPLACED_VIEW_H

#include "postgres.h"

/* Subscribe to statements; from _PG_init only. */
extern void dp_replaced_view_init(void);

#endif							/* DP_TYPES_REPLACED_VIEW_H */
