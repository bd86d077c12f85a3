/*
 * compat.h
 *	  Every difference between the PostgreSQL versions that we build on.
 *
 * No other file tests PG_VERSION_NUM (lint checks it).
 */
#ifndef DP_BASE_COMPAT_H
#define DP_BASE_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "dataprotect needs PostgreSQL 15 or newer"
#endif

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif

/*
 * The columns that a range table entry reads (attribute numbers offset by
 * FirstLowInvalidHeapAttributeNumber); NULL where it reads none.
 * perminfos: Query.rteperminfos or PlannedStmt.permInfos (16 and newer),
 * ignored before.
 */
static inline Bitmapset *
dp_rte_selected_cols(RangeTblEntry *rte, List *perminfos)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0 || perminfos == NIL)
		return NULL;
	return ((RTEPermissionInfo *) list_nth(perminfos, rte->perminfoindex - 1))->selectedCols;
#else
	return rte->selectedCols;
#endif
}

static inline List *
dp_plannedstmt_perminfos(PlannedStmt *stmt)
{
#if PG_VERSION_NUM >= 160000
	return stmt->permInfos;
#else
	return NIL;
#endif
}

static inline List *
dp_query_perminfos(Query *query)
{
#if PG_VERSION_NUM >= 160000
	return query->rteperminfos;
#else
	return NIL;
#endif
}

/* A wait event set that the caller frees. */
static inline WaitEventSet *
dp_create_wait_event_set(int n_events)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, n_events);
#else
	return CreateWaitEventSet(CurrentMemoryContext, n_events);
#endif
}

#endif							/* DP_BASE_COMPAT_H */
