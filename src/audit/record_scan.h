/*
 * record_scan.h
 *	  Reading dataprotect.audit_record; for audit/ only.
 *
 * The planner is given one path for it, a custom scan over the batches.  Conditions
 * of a query that a batch, or a record, can be told by become filters: hints that
 * save reading, for the executor checks every condition itself.
 *
 * record_plan.c	paths, and filters from conditions
 * record_scan.c	the executor's part
 */
#ifndef DP_AUDIT_RECORD_SCAN_H
#define DP_AUDIT_RECORD_SCAN_H

#include "postgres.h"

#include "nodes/extensible.h"

typedef enum DpRecordFilter
{
	DP_FILTER_SEQ_MIN,			/* int8 */
	DP_FILTER_SEQ_MAX,
	DP_FILTER_AT_MIN,			/* timestamptz */
	DP_FILTER_AT_MAX,
	DP_FILTER_KIND,				/* "char" */
	DP_FILTER_SESSION,			/* int8 */
	DP_FILTER_REF_MIN,			/* int8: ref_seq */
	DP_FILTER_REF_MAX,
	DP_FILTER_END_MIN,			/* int8: ref_end */
	DP_FILTER_ROLE,				/* text */
	DP_FILTER_SESSION_ROLE,
	DP_FILTER_EVENT,			/* int2 */
	DP_FILTER_N
} DpRecordFilter;

/* In which order rows are wanted. */
typedef enum DpRecordOrder
{
	DP_ORDER_NONE,
	DP_ORDER_UP,				/* by seq */
	DP_ORDER_DOWN
} DpRecordOrder;

/* custom_private of the plan: the order, then a filter for each of custom_exprs. */
extern const CustomScanMethods dp_record_scan_methods;

/* The planner's hook and the scan; from _PG_init only. */
extern void dp_record_plan_init(void);

#endif							/* DP_AUDIT_RECORD_SCAN_H */
