/*
 * role_drop.c
 *	  A grant ends with its role, in the transaction that drops it; the roles that
 *	  the extension brings keep their names and what was granted to them.
 */
#include "postgres.h"

#include "access/access.h"
#include "base/report.h"
#include "base/statement.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "keys/catalog.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* As the owner of our tables; the statement is ours and calls nothing else. */
static void
end_grants(Oid role)
{
	Oid			types[1] = {OIDOID};
	Datum		values[1] = {ObjectIdGetDatum(role)};
	Oid			user;
	int			context;
	int			level;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(dp_catalog_owner(), context | SECURITY_LOCAL_USERID_CHANGE);
	level = dp_own_begin();
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT ||
			SPI_execute_with_args("SELECT dataprotect._end_grants_of($1, 'its role was dropped')", 1,
								  types, values, NULL, false, 0) != SPI_OK_SELECT)
			dp_report_altered("could not end the grants of a role");
		SPI_finish();
	}
	PG_FINALLY();
	{
		dp_own_end(level);
	}
	PG_END_TRY();
	SetUserIdAndSecContext(user, context);
}

/* DROP ROLE calls this after its checks of rights, before the role goes. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (access == OAT_DROP && class_id == AuthIdRelationId &&
		dp_catalog_is_there())
		end_grants(object_id);
}

static bool
is_ours(const char *name)
{
	return name != NULL && (strcmp(name, "dataprotect_admin") == 0 || strcmp(name, "dataprotect_auditor") == 0);
}

/*
 * Functions find the two roles by name, and are granted to them: any member could
 * lock all others out by DROP OWNED, any role with CREATEROLE by another name.
 */
static void
begin_utility(const DpUtility *utility, Datum *state)
{
	Node	   *statement = utility->statement;
	ListCell   *lc;

	if (IsA(statement, RenameStmt) && ((RenameStmt *) statement)->renameType == OBJECT_ROLE &&
		is_ours(((RenameStmt *) statement)->subname) && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to rename role \"%s\"", ((RenameStmt *) statement)->subname),
				 errdetail("Only a superuser may rename a role of dataprotect.")));
	if (!IsA(statement, DropOwnedStmt) || superuser())
		return;
	foreach(lc, ((DropOwnedStmt *) statement)->roles)
	{
		Oid			role = get_rolespec_oid(lfirst_node(RoleSpec, lc), true);
		char	   *name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

		if (is_ours(name))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to drop what role \"%s\" has", name),
					 errdetail("Only a superuser may take away the privileges of a role of dataprotect.")));
	}
}

static const DpSubscriber subscriber = {
	.name = "roles that are dropped",
	.begin_utility = begin_utility,
	.object_access = object_access,
};

void
dp_role_drop_init(void)
{
	dp_statement_subscribe(&subscriber);
}
