/*
 * own_tables.c
 *	  Our tables are written by our functions; see own_tables.h.
 *
 * The executor, COPY and MERGE all ask for a statement's permissions in one
 * place, views and rules included, so this is asked there.  TRUNCATE is of the
 * table's owner alone.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "miscadmin.h"
#include "sqlrun/own_tables.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#define WRITES (ACL_INSERT | ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE)

static bool
permits(DP_CHECK_PERMS_PARAMS)
{
	Oid			schema = InvalidOid;
	DpPermission asked;

	for (int i = 0; dp_next_permission(rtable, DP_CHECK_PERMS_INFOS, &i, &asked);)
	{
		if ((asked.required & WRITES) == 0 || superuser_arg(OidIsValid(asked.role) ? asked.role : GetUserId()))
			continue;
		if (!OidIsValid(schema))
			schema = get_namespace_oid("dataprotect", true);
		if (!OidIsValid(schema) || get_rel_namespace(asked.relid) != schema)
			continue;
		if (ereport_on_violation)
			aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(asked.relid)),
						   get_rel_name(asked.relid));
		return false;
	}
	return true;
}

static const DpSubscriber subscriber = {
	.name = "own tables",
	.permits = permits,
};

void
dp_own_tables_init(void)
{
	dp_statement_subscribe(&subscriber);
}
