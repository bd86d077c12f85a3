/*
 * changed_tables.h
 *	  Which tables with protected columns a utility command changes, or gives away.
 *
 * Asked before a command and after it: a table that is dropped or loses its last
 * protected column is there only before, one that gains the first only after.
 */
#ifndef DP_AUDIT_CHANGED_TABLES_H
#define DP_AUDIT_CHANGED_TABLES_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* Does a command of that kind change tables?  Cheap. */
extern bool dp_changes_tables(const Node *statement);

/* OIDs, each once; no locks.  after: the command has run. */
extern List *dp_changed_tables(Node *statement, bool after);

/* The name of what is put on the table or taken from it; NULL: the table itself. */
extern const char *dp_changed_object(Node *statement);

#endif							/* DP_AUDIT_CHANGED_TABLES_H */
