/*
 * foreign_temporary.h
 *	  Which temporary tables code of others may make for a role that has more.
 *
 * A temporary table comes before every other of its name, as a type too, under whatever
 * search_path, and stays for the session.  So it takes no name that a relation or a type of the
 * database has, in any schema; and nothing of it calls what somebody else wrote when rows come
 * into it: CHECKs, defaults that call something, domains, parents, partitions.
 */
#ifndef DP_ACCESS_FOREIGN_TEMPORARY_H
#define DP_ACCESS_FOREIGN_TEMPORARY_H

#include "postgres.h"

#include "nodes/parsenodes.h"

extern bool dp_foreign_temporary_table(CreateStmt *create);
extern bool dp_foreign_temporary_table_as(CreateTableAsStmt *create);

/* Is a name (NULL: PostgreSQL chooses one) no relation's or type's but temporary ones? */
extern bool dp_foreign_name_is_free(const char *name);

#endif							/* DP_ACCESS_FOREIGN_TEMPORARY_H */
