/*
 * role_events.c
 *	  Changes of roles that give or take rights; see role_events.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "audit/role_events.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "events/event.h"
#include "keys/catalog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* A change as it will be recorded once it was made. */
typedef struct RoleChange
{
	DpEventCode event;
	StringInfoData detail;		/* members of a JSON object */
	bool		matters;		/* here */
	bool		may_elsewhere;	/* where other grants are */
} RoleChange;

static void
put_name(RoleChange *change, const char *member, const char *name)
{
	if (change->detail.len > 0)
		appendStringInfoString(&change->detail, ", ");
	escape_json(&change->detail, member);
	appendStringInfoString(&change->detail, ": ");
	escape_json(&change->detail, name);
}

/* Names, joined; matters where one of the roles does, if that counts. */
static void
put_roles(RoleChange *change, const char *member, List *roles, bool counts)
{
	StringInfoData names;
	ListCell   *cell;

	if (roles == NIL)
		return;
	change->may_elsewhere |= counts;
	initStringInfo(&names);
	foreach(cell, roles)
	{
		Node	   *node = (Node *) lfirst(cell);
		const char *name;
		Oid			role;

		/* GRANT names the roles that it gives as privileges. */
		if (IsA(node, AccessPriv))
			name = ((AccessPriv *) node)->priv_name;
		else if (((RoleSpec *) node)->roletype == ROLESPEC_CSTRING)
			name = ((RoleSpec *) node)->rolename;
		else
			name = get_rolespec_name((RoleSpec *) node);
		role = name != NULL ? get_role_oid(name, true) : InvalidOid;
		change->matters |= counts && OidIsValid(role) && dp_access_role_matters(role);
		if (names.len > 0)
			appendStringInfoString(&names, ", ");
		appendStringInfoString(&names, name != NULL ? name : "");
	}
	put_name(change, member, names.data);
}

static void
put_options(RoleChange *change, List *options, bool members_count)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		if (strcmp(option->defname, "superuser") == 0 || strcmp(option->defname, "createrole") == 0)
		{
			put_name(change, option->defname, defGetBoolean(option) ? "yes" : "no");
			change->matters = change->may_elsewhere = true;
		}
		else if (strcmp(option->defname, "addroleto") == 0)
			put_roles(change, "member_of", (List *) option->arg, true);
		else if (strcmp(option->defname, "rolemembers") == 0)
		{
			put_roles(change, "members", (List *) option->arg, false);
			change->matters |= members_count;
			change->may_elsewhere = true;
		}
		else if (strcmp(option->defname, "adminmembers") == 0)
		{
			put_roles(change, "admins", (List *) option->arg, false);
			change->matters |= members_count;
			change->may_elsewhere = true;
		}
	}
}

static void
describe_alter(RoleChange *change, AlterRoleStmt *alter)
{
	RoleChange	of_role = {.event = DP_EVENT_ROLE_ALTERED};
	List	   *roles = list_make1(alter->role);

	/* Members of a role matter where the role does. */
	initStringInfo(&of_role.detail);
	put_roles(&of_role, "role", roles, true);
	put_roles(change, "role", roles, false);
	put_options(change, alter->options, of_role.matters);
	if (alter->action < 0)
		put_name(change, "action", "drop");
}

static bool
describe(RoleChange *change, Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_GrantRoleStmt:
			{
				GrantRoleStmt *grant = (GrantRoleStmt *) statement;

				change->event = grant->is_grant ? DP_EVENT_ROLE_GRANTED : DP_EVENT_ROLE_REVOKED;
				put_roles(change, "roles", grant->granted_roles, true);
				put_roles(change, "members", grant->grantee_roles, false);
				break;
			}
		case T_CreateRoleStmt:
			change->event = DP_EVENT_ROLE_CREATED;
			put_name(change, "role", ((CreateRoleStmt *) statement)->role);
			put_options(change, ((CreateRoleStmt *) statement)->options, false);
			break;
		case T_AlterRoleStmt:
			change->event = DP_EVENT_ROLE_ALTERED;
			describe_alter(change, (AlterRoleStmt *) statement);
			break;
		case T_DropRoleStmt:
			change->event = DP_EVENT_ROLE_DROPPED;
			put_roles(change, "roles", ((DropRoleStmt *) statement)->roles, true);
			break;
		case T_DropOwnedStmt:
			/* Takes back the memberships that these roles gave, from PostgreSQL 16 on. */
			change->event = DP_EVENT_ROLE_REVOKED;
			put_roles(change, "owned_by", ((DropOwnedStmt *) statement)->roles, false);
			change->matters = change->may_elsewhere = true;
			break;
		default:
			return false;
	}
	return change->matters || change->may_elsewhere;
}

/* Before the command: it changes what its roles may do. */
static void
begin_utility(const DpUtility *utility, Datum *state)
{
	RoleChange *change;

	*state = PointerGetDatum(NULL);
	switch (nodeTag(utility->statement))
	{
		case T_GrantRoleStmt:
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_DropRoleStmt:
		case T_DropOwnedStmt:
			break;
		default:
			return;
	}
	change = palloc0(sizeof(RoleChange));
	initStringInfo(&change->detail);
	if (describe(change, utility->statement))
		*state = PointerGetDatum(change);
}

static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	RoleChange *change = (RoleChange *) DatumGetPointer(state);

	char	   *detail;

	if (change == NULL || failed)
		return;
	detail = psprintf("{%s}", change->detail.data);
	if (change->matters)
		ereport(LOG,
				(errmsg("audit alert: %s", dp_event_name(change->event)),
				 errdetail_internal("%s", detail)));
	if (change->matters && dp_catalog_is_there())
		dp_event_admin(change->event, NULL, detail);
	put_name(change, "in_database", get_database_name(MyDatabaseId));
	if (change->may_elsewhere)
		dp_event_elsewhere(change->event, psprintf("{%s}", change->detail.data));
}

static const DpSubscriber subscriber = {
	.name = "roles",
	.begin_utility = begin_utility,
	.end_utility = end_utility,
};

void
dp_role_events_init(void)
{
	dp_statement_subscribe(&subscriber);
}
