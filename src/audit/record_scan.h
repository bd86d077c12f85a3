/*
 * record_scan.h
 *	  Reading dataprotect.audit_record; for audit/ only.
 *
 * The planner is given one path for it, a custom scan over the batches.  Conditions
 * of a query that a batch, or a record, can be told by become filters: hints that
 * save reading, for the executor checks every condition itself.
 *
 * record_plan.c	paths, and filters from conditions
 * record_filter.c	what filters say of batches and records
 * record_scan.c	the executor's part
 */
#ifndef DP_AUDIT_RECORD_SCAN_H
#define DP_AUDIT_RECORD_SCAN_H

#include "postgres.h"

#include "nodes/extensible.h"

/* In which order rows are wanted. */
typedef enum DpRecordOrder
{
	DP_ORDER_NONE,
	DP_ORDER_UP,				/* by seq */
	DP_ORDER_DOWN
} DpRecordOrder;

/* custom_private of the plan: the order, then a filter (record_filter.h) for each of custom_exprs. */
extern const CustomScanMethods dp_record_scan_methods;

/* The planner's hook and the scan; from _PG_init only. */
extern void dp_record_plan_init(void);

#endif							/* DP_AUDIT_RECORD_SCAN_H */
