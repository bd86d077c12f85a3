/*
 * catalog_change.h
 *	  Who is told when PostgreSQL invalidates what it knows of a relation or of a
 *	  catalog row.
 *
 * PostgreSQL has room for ten listeners to relations in a process, for itself and
 * all libraries together, and ends the session of the eleventh.  So we take one
 * place there, and one for each catalog cache; no other file registers with the
 * server (lint checks).
 *
 * A listener is called at any place that can process invalidations, within error
 * handling too: it looks nothing up and raises nothing.  Listeners are for the life
 * of the process; those registered by the postmaster are inherited.
 */
#ifndef DP_BASE_CATALOG_CHANGE_H
#define DP_BASE_CATALOG_CHANGE_H

#include "postgres.h"

#include "utils/inval.h"

/* relid is InvalidOid where every relation may have changed. */
extern void dp_on_relation_change(void (*changed) (Oid relid));

/* hash is 0 where every row of the cache may have changed. */
extern void dp_on_cache_change(int cache, void (*changed) (int cache, uint32 hash));

#endif
