/*
 * put_off.c
 *	  Statements of a restore that come before the keys; see put_off.h.
 */
#include "postgres.h"

#include "access/table.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/put_off.h"
#include "executor/spi.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "types/seal.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* The table's, where it has protected columns. */
static Oid
protected_table(RangeVar *relation)
{
	Oid			relid = relation != NULL ? RangeVarGetRelid(relation, NoLock, true) : InvalidOid;
	Oid			row_type = OidIsValid(relid) ? get_rel_type_id(relid) : InvalidOid;

	return OidIsValid(row_type) && dp_contains_encrypted_type(row_type) ? relid : InvalidOid;
}

static bool
is_protected(RangeVar *relation)
{
	return OidIsValid(protected_table(relation));
}

/* Has it rows?  Of an empty table everything can be made without a key. */
static bool
holds_values(RangeVar *relation)
{
	Oid			relid = protected_table(relation);
	Relation	rel;
	bool		result;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_RELATION)
		return false;
	rel = table_open(relid, AccessShareLock);
	result = RelationGetNumberOfBlocks(rel) > 0;
	table_close(rel, NoLock);
	return result;
}

static bool
is_missing(RangeVar *relation)
{
	return relation != NULL && !OidIsValid(RangeVarGetRelid(relation, NoLock, true));
}

/* Can such a part of an ALTER ever wait?  What pg_dump writes; of an index nothing that runs code. */
static bool
part_may_wait(AlterTableStmt *stmt, AlterTableCmd *cmd)
{
	Constraint *constraint = (Constraint *) cmd->def;

	switch (cmd->subtype)
	{
		case AT_AddConstraint:
			return stmt->objtype == OBJECT_TABLE && (constraint->contype == CONSTR_FOREIGN ||
													 constraint->contype == CONSTR_PRIMARY || constraint->contype == CONSTR_UNIQUE);
		case AT_ClusterOn:
		case AT_ReplicaIdentity:
		case AT_ValidateConstraint:
			return stmt->objtype == OBJECT_TABLE;
		case AT_AttachPartition:
			return stmt->objtype == OBJECT_TABLE || stmt->objtype == OBJECT_INDEX;
		case AT_SetStatistics:
		case AT_SetRelOptions:
		case AT_ResetRelOptions:
		case AT_SetTableSpace:
			return stmt->objtype == OBJECT_INDEX;
		default:
			return false;
	}
}

static bool
may_wait(Node *statement)
{
	ListCell   *lc;

	switch (nodeTag(statement))
	{
		case T_IndexStmt:
			return true;
		case T_AlterTableStmt:
			foreach(lc, ((AlterTableStmt *) statement)->cmds)
			{
				if (!part_may_wait((AlterTableStmt *) statement, lfirst_node(AlterTableCmd, lc)))
					return false;
			}
			return true;
		case T_CommentStmt:
			return ((CommentStmt *) statement)->objtype == OBJECT_INDEX ||
				((CommentStmt *) statement)->objtype == OBJECT_TABCONSTRAINT;
		default:
			return false;
	}
}

/*
 * Does the part of an ALTER need what waits (some) or the values?  CHECK constraints do
 * not: what they are about is not seen before its key (types/row_condition.h).
 */
static bool
part_waits(AlterTableStmt *stmt, AlterTableCmd *cmd, bool some)
{
	Constraint *constraint = (Constraint *) cmd->def;

	switch (cmd->subtype)
	{
		case AT_AddConstraint:
			return holds_values(stmt->relation) ||
				(some && constraint->contype == CONSTR_FOREIGN &&
				 (is_protected(stmt->relation) || is_protected(constraint->pktable)));
		case AT_ClusterOn:
		case AT_ReplicaIdentity:
		case AT_ValidateConstraint:
			return some && is_protected(stmt->relation);
		case AT_AttachPartition:
			return some && (is_missing(stmt->relation) || is_missing(((PartitionCmd *) cmd->def)->name));
		default:
			return some && is_missing(stmt->relation);
	}
}

/* The relation that an object's name begins with. */
static RangeVar *
relation_of(Node *object, int n_more)
{
	List	   *names = list_copy((List *) object);

	return makeRangeVarFromNameList(list_truncate(names, list_length(names) - n_more));
}

/* One that may_wait().  some: something waits already. */
static bool
waits(Node *statement, bool some)
{
	ListCell   *lc;

	switch (nodeTag(statement))
	{
		case T_IndexStmt:
			return holds_values(((IndexStmt *) statement)->relation);
		case T_AlterTableStmt:
			foreach(lc, ((AlterTableStmt *) statement)->cmds)
			{
				if (part_waits((AlterTableStmt *) statement, lfirst_node(AlterTableCmd, lc), some))
					return true;
			}
			return false;
		case T_CommentStmt:
			if (((CommentStmt *) statement)->objtype == OBJECT_INDEX)
				return some && is_missing(relation_of(((CommentStmt *) statement)->object, 0));
			return some &&
				is_protected(relation_of(((CommentStmt *) statement)->object, 1));
		default:
			return false;
	}
}

bool
dp_put_off_is_one(const char *text)
{
	List	   *statements = pg_parse_query(text);

	return list_length(statements) == 1 && may_wait(linitial_node(RawStmt, statements)->stmt);
}

/* Does something wait?  Connected to SPI. */
static bool
something_waits(void)
{
	if (SPI_execute("SELECT FROM dataprotect.put_off LIMIT 1", false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read what waits for keys");
	return SPI_processed > 0;
}

static void
note(const char *statement)
{
	Oid			types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3];

	values[0] = CStringGetTextDatum(statement);
	values[1] = CStringGetTextDatum(GetConfigOption("search_path", false, false));
	values[2] = CStringGetTextDatum(GetConfigOption("default_tablespace", false, false));
	if (SPI_execute_with_args("INSERT INTO dataprotect.put_off (statement, search_path, default_tablespace) VALUES ($1, $2, $3)",
							  3, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not note what waits for keys");
	ereport(WARNING,
			(errmsg("a statement is put off until the keys of this database are restored"),
			 errdetail("Put off: %s", statement)));
}

/* A client's own text of the statement; NULL where there is none. */
static char *
text_of(const PlannedStmt *planned)
{
	const char *text = debug_query_string;

	if (text == NULL || planned->stmt_location < 0)
		return NULL;
	text += planned->stmt_location;
	return planned->stmt_len > 0 ? pnstrdup(text, planned->stmt_len) : pstrdup(text);
}

void
dp_put_off_lock(void)
{
	LockRelationOid(dp_catalog_relation("put_off"), ShareRowExclusiveLock);
}

/*
 * What is done in the place of a statement that waits: nothing.  No LISTEN has a name of
 * this length.
 */
static PlannedStmt *
nothing(PlannedStmt *planned)
{
	UnlistenStmt *stmt = makeNode(UnlistenStmt);

	planned = copyObject(planned);
	stmt->conditionname = palloc(NAMEDATALEN + 1);
	memset(stmt->conditionname, '-', NAMEDATALEN);
	stmt->conditionname[NAMEDATALEN] = '\0';
	planned->utilityStmt = (Node *) stmt;
	return planned;
}

static PlannedStmt *
rewrite_utility(PlannedStmt *planned)
{
	bool		put_off;
	char	   *text;

	if (dp_guc_input != DP_INPUT_CIPHERTEXT || !may_wait(planned->utilityStmt) || DP_IN_STATEMENT() || !dp_catalog_is_there() ||
		!dp_seal_awaits_keys() || !superuser())
		return planned;
	text = text_of(planned);
	if (text == NULL)
		return planned;
	dp_put_off_lock();
	if (dp_keys_are_there())
		return planned;
	SPI_connect();
	put_off = waits(planned->utilityStmt, something_waits());
	if (put_off)
		note(text);
	SPI_finish();
	return put_off ? nothing(planned) : planned;
}

static const DpSubscriber subscriber = {
	.name = "put off",
	.rewrite_utility = rewrite_utility,
};

void
dp_put_off_init(void)
{
	dp_statement_subscribe(&subscriber);
}
