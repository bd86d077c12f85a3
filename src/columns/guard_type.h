/*
 * guard_type.h
 *	  The part of the DDL guard that concerns types which come to contain
 *	  encrypted values after other objects were made over them.
 *
 * A row type gains an encrypted attribute by ALTER TYPE, ALTER TABLE or CREATE
 * OR REPLACE VIEW; with it every array, domain, range and row type around it.
 * What was made over these before (indexes, statistics, partition keys,
 * constraints, generated columns, materialized views, ranges) would order or
 * store values that it could not be made over afterwards.
 *
 * Hooks tell of columns as they appear; judged is at the end of the command,
 * when the catalogs show the type as it is.  Whoever makes an object over a
 * composite type holds a lock on it (contains_encrypted.h) and an ALTER holds
 * the strongest: one of two sessions always sees what the other did.
 */
#ifndef DP_COLUMNS_GUARD_TYPE_H
#define DP_COLUMNS_GUARD_TYPE_H

#include "postgres.h"

extern void dp_guard_type_init(void);

/* A relation of any kind has a new column, or a column a new type. */
extern void dp_guard_note_column(Oid relid, Oid typid);

/*
 * At the end of a command: errors where an object stands in the way of what was
 * noted.  Types of columns that contain encrypted values are analyzed without
 * comparing or keeping any from here on.
 */
extern void dp_guard_judge_types(void);

/* The function that analyzes them is about to be dropped, with the extension. */
extern void dp_guard_function_dropped(Oid funcid);

#endif							/* DP_COLUMNS_GUARD_TYPE_H */
