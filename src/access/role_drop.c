/*
 * role_drop.c
 *	  A grant ends with its role, in the transaction that drops it.
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

static const DpSubscriber subscriber = {
	.name = "roles that are dropped",
	.object_access = object_access,
};

void
dp_role_drop_init(void)
{
	dp_statement_subscribe(&subscriber);
}
