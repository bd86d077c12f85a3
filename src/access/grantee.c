/*
 * grantee.c
 *	  Which roles carry a right: what becoming their member would give.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "keys/catalog.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static bool
is_or_is_member(Oid role, Oid of)
{
	return OidIsValid(of) && (role == of || is_member_of_role_nosuper(role, of));
}

static bool
holds_grant(Oid role)
{
	Relation	rel = table_open(dp_catalog_relation("access_grant"), AccessShareLock);
	AttrNumber	grantee = get_attnum(RelationGetRelid(rel), "grantee");
	AttrNumber	revoked_at = get_attnum(RelationGetRelid(rel), "revoked_at");
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	bool		found = false;
	HeapTuple	tuple;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value;

		(void) heap_getattr(tuple, revoked_at, RelationGetDescr(rel), &isnull);
		if (!isnull)
			continue;
		value = heap_getattr(tuple, grantee, RelationGetDescr(rel), &isnull);
		found = !isnull && is_or_is_member(role, DatumGetObjectId(value));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
dp_access_role_matters(Oid role)
{
	return is_or_is_member(role, get_role_oid("dataprotect_admin", true)) ||
		is_or_is_member(role, get_role_oid("dataprotect_auditor", true)) ||
		(dp_catalog_is_there() && holds_grant(role));
}
