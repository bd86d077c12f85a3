/*
 * reflection.h
 *	  What a client finds in the catalogs about protected columns: the types that it
 *	  gets from them.
 *
 * Mappers, drivers and tools read pg_attribute, or information_schema over it, to
 * learn what type a column has, and know no encrypted one.  In a SELECT that a client
 * sent, the columns atttypid, atttypmod and attlen of pg_attribute, whole rows of it,
 * and those in the system's own views, pass functions that give the base type's.  Who
 * gets it is found out when they run (dataprotect.catalog_types): by default, a role
 * that may read the column, and so gets values of that type.
 *
 * Not so
 *	- with an empty search_path, whatever the setting: tools that carry definitions
 *	  from one database to another (pg_dump, pg_upgrade, subscriptions) set it first,
 *	  and must see what is there
 *	- in what code runs, in views other than the system's, and in what stores rows.
 * The parser has looked at the catalogs by itself: no query means another column or
 * type for what is shown here.
 */
#ifndef DP_TYPES_REFLECTION_H
#define DP_TYPES_REFLECTION_H

/* Subscribe to statements; from _PG_init only. */
extern void dp_reflection_init(void);

#endif							/* DP_TYPES_REFLECTION_H */
