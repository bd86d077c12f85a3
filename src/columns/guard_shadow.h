/*
 * guard_shadow.h
 *	  Functions and operators that would stand in for PostgreSQL's own.
 *
 * In a search path the better match wins, not the earlier schema: a function
 * lower(encrypted_text), or an operator "=" between encrypted_text and varchar, of
 * anybody's schema that a reader's path names would be called in place of
 * pg_catalog's.  It would see masks only (access/foreign_code.h), but decide what the
 * reader's statement answers.  So only superusers make one with a name that
 * pg_catalog has and an argument that bears encrypted values.
 */
#ifndef DP_COLUMNS_GUARD_SHADOW_H
#define DP_COLUMNS_GUARD_SHADOW_H

#include "postgres.h"

/* A function or operator was made, renamed or moved: an error where it is such a one. */
extern void dp_guard_shadow(Oid class_id, Oid object_id);

#endif							/* DP_COLUMNS_GUARD_SHADOW_H */
