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

/*
 * OIDs, each once; no locks.  after: the command has run, and function is what it made, if it
 * made one.  A name that the command takes away is looked up before it only: afterwards it is
 * another table's, on the path of search.
 */
extern List *dp_changed_tables(Node *statement, bool after, Oid function);

/* The name of what is put on the table or taken from it; NULL: the table itself. */
extern const char *dp_changed_object(Node *statement);

#endif							/* DP_AUDIT_CHANGED_TABLES_H */
