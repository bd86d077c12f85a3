/*
 * protected_columns.h
 *	  Which columns of a relation are protected, by name; cached per backend.
 */
#ifndef DP_AUDIT_PROTECTED_COLUMNS_H
#define DP_AUDIT_PROTECTED_COLUMNS_H

#include "postgres.h"

#include "access/attnum.h"

typedef struct DpAuditColumnName
{
	AttrNumber	attnum;
	char	   *name;			/* schema.table.column */
} DpAuditColumnName;

typedef struct DpAuditRelation
{
	Oid			relid;			/* hash key */
	bool		valid;
	int			n;				/* protected columns; 0 for most relations */
	DpAuditColumnName *columns;
} DpAuditRelation;

/*
 * The relation is open and locked by the caller's statement, or is named in it.
 * Valid until the next call.  Never NULL.
 */
extern const DpAuditRelation *dp_audit_relation(Oid relid);

/*
 * Has a relation protected columns?  From the catalog, without a lock on the relation:
 * for those who must not wait for whoever has one.
 */
extern bool dp_audit_has_protected(Oid relid);

#endif							/* DP_AUDIT_PROTECTED_COLUMNS_H */
