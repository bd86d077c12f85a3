/*
 * guard_alter.c
 *	  ALTER TABLE that changes the type of a protected column; see guard_alter.h.
 */
#include "postgres.h"

#include "base/report.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/guard_alter.h"
#include "events/event.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "parser/parse_type.h"
#include "types/storing.h"
#include "types/types.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

typedef struct Decryption
{
	Oid			relid;
	char	   *column;
	char	   *key;			/* NULL where the column's type only contains protected values */
} Decryption;

static void
refuse_decryption(Oid relid, const char *column)
{
	char	   *table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to store protected column \"%s\" of table \"%s\" as plaintext",
					column, get_rel_name(relid)),
			 errdetail("Only members of dataprotect_admin decrypt columns; the table's owner does not."),
			 errhint("An administrator with \"reveal\" on the key runs CALL dataprotect.decrypt_column(%s, %s).",
					 quote_literal_cstr(table), quote_literal_cstr(column))));
}

/* What a command would decrypt: a list of Decryption.  *out_changes: it changes types at all. */
static List *
find_decryptions(const AlterTableStmt *stmt, bool *out_changes)
{
	Oid			relid = InvalidOid;
	List	   *found = NIL;
	ListCell   *lc;

	*out_changes = false;
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		Decryption *decryption;
		AttrNumber	attnum;
		Oid			type;
		int32		typmod;
		Oid			collation;

		if (cmd->subtype != AT_AlterColumnType)
			continue;
		*out_changes = true;
		if (!OidIsValid(relid))
			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
		attnum = OidIsValid(relid) ? get_attnum(relid, cmd->name) : InvalidAttrNumber;
		if (attnum <= 0)
			continue;
		get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
		if (!dp_contains_encrypted_type(type))
			continue;
		type = LookupTypeNameOid(NULL, castNode(ColumnDef, cmd->def)->typeName, true);
		if (!OidIsValid(type) || dp_contains_encrypted_type(type))
			continue;
		if (!has_privs_of_role(GetUserId(), get_role_oid("dataprotect_admin", false)))
			refuse_decryption(relid, cmd->name);
		decryption = palloc0(sizeof(Decryption));
		decryption->relid = relid;
		decryption->column = pstrdup(cmd->name);
		if (typmod >= 0)
			decryption->key = pstrdup(NameStr(dp_modifier_get(typmod)->key));
		found = lappend(found, decryption);
	}
	return found;
}

/*
 * Plaintext at rest is not one administrator's decision where approvals are on, by
 * whatever ALTER TABLE it comes: the act is asked for as what it turned out to be, and
 * is undone where nobody approved it.
 */
static void
need_approval(const char *relation, const char *column)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];
	Oid			user;
	int			context;
	int			level;

	if (strcmp(GetConfigOption("dataprotect.approvals", false, false), "on") != 0)
		return;
	values[0] = CStringGetTextDatum(relation);
	values[1] = CStringGetTextDatum(column);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	level = dp_own_begin();
	SPI_connect();
	if (SPI_execute_with_args("SELECT dataprotect._need_approval('decrypt_column', "
							  "pg_catalog.jsonb_build_object('rel', $1, 'col', $2))",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		dp_report_altered("could not look for an approval");
	SPI_finish();
	dp_own_end(level);
	SetUserIdAndSecContext(user, context);
}

static void
record_decryption(const Decryption *decryption)
{
	char	   *relation;
	StringInfoData detail;
	AttrNumber	attnum = get_attnum(decryption->relid, decryption->column);
	Oid			type;
	int32		typmod;
	Oid			collation;

	if (attnum <= 0)
		return;
	get_atttypetypmodcoll(decryption->relid, attnum, &type, &typmod, &collation);
	relation = quote_qualified_identifier(get_namespace_name(get_rel_namespace(decryption->relid)),
										  get_rel_name(decryption->relid));
	need_approval(relation, decryption->column);
	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"relation\": ");
	escape_json(&detail, relation);
	appendStringInfoString(&detail, ", \"column\": ");
	escape_json(&detail, decryption->column);
	appendStringInfoString(&detail, ", \"type\": ");
	escape_json(&detail, format_type_with_typemod(type, typmod));
	appendStringInfoChar(&detail, '}');
	dp_event_admin(DP_EVENT_COLUMN_DECRYPTED, decryption->key, detail.data);
}

/* ---- hooks ---- */

typedef struct Alter
{
	List	   *decryptions;
} Alter;

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	Alter	   *alter;
	bool		changes_types;
	List	   *decryptions;

	*state = PointerGetDatum(NULL);
	if (!IsA(utility->statement, AlterTableStmt))
		return;
	decryptions = find_decryptions((AlterTableStmt *) utility->statement, &changes_types);
	if (!changes_types)
		return;
	alter = palloc(sizeof(Alter));
	alter->decryptions = decryptions;
	*state = PointerGetDatum(alter);
	dp_storing_begin_strict();
}

static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	Alter	   *alter = (Alter *) DatumGetPointer(state);
	ListCell   *lc;

	if (alter == NULL)
		return;
	dp_storing_end_strict();
	if (failed)
		return;
	foreach(lc, alter->decryptions)
		record_decryption(lfirst(lc));
}

static const DpSubscriber subscriber = {
	.name = "changed types",
	.begin_utility = begin_utility,
	.end_utility = end_utility,
};

void
dp_guard_alter_init(void)
{
	dp_statement_subscribe(&subscriber);
}
