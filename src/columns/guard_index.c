/*
 * guard_index.c
 *	  Which indexes may be built over protected columns.
 *
 *	  index				asks of the column
 *	  hash				any but bool and enums; a warning where few values occur
 *	  btree, token		'searchable'; any but bool and enums
 *	  btree, default	'ordered', which subject-bound tables and keys that
 *						expire do not allow: comparisons open stored values
 *	  anything else		refused
 *	  INCLUDE (column)	nothing: only the envelope is copied
 *
 * Each of them, and a foreign key, compares what is put there of rows that may be read, by a conflict or by
 * its size: it is made by who may reveal the key, or, over a table that is not temporary (which
 * is anybody's to make), by an administrator of dataprotect or a superuser.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/statement.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type_d.h"
#include "columns/contains_encrypted.h"
#include "columns/folded_index.h"
#include "columns/guard_catalog.h"
#include "columns/guard_index.h"
#include "commands/defrem.h"
#include "events/event.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "types/document_search.h"
#include "types/fold.h"
#include "types/lexeme_search.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "types/word_search.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Equality over fewer distinct values than this tells most of a value. */
#define SMALL_DOMAIN 100

/* ---- the extension's own tables ---- */

/*
 * The first row of dataprotect.<table> whose column equals the value, as a
 * copy, or NULL.  Tables of policy are small, and may be absent while the
 * extension's script runs.
 */
static HeapTuple
find_policy_row(const char *table, const char *column, RegProcedure eq, Datum value,
				Relation *out_rel)
{
	Oid			nsp = get_namespace_oid("dataprotect", true);
	Oid			relid = OidIsValid(nsp) ? get_relname_relid(table, nsp) : InvalidOid;
	AttrNumber	attnum = OidIsValid(relid) ? get_attnum(relid, column) : InvalidAttrNumber;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	*out_rel = NULL;
	if (attnum == InvalidAttrNumber)
		return NULL;
	*out_rel = table_open(relid, AccessShareLock);
	ScanKeyInit(&key, attnum, BTEqualStrategyNumber, eq, value);
	scan = systable_beginscan(*out_rel, InvalidOid, false, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(*out_rel, NoLock);
	return tuple;
}

static bool
relation_bound(Oid relid)
{
	List	   *members = list_make1_oid(relid);
	ListCell   *lc;
	Relation	rel;

	if (get_rel_relispartition(relid))
		members = list_concat(members, get_partition_ancestors(relid));
	foreach(lc, members)
	{
		if (find_policy_row("subject_binding", "rel", F_OIDEQ,
							ObjectIdGetDatum(lfirst_oid(lc)), &rel) != NULL)
			return true;
	}
	return false;
}

static bool
key_expires(const char *name)
{
	Relation	rel;
	HeapTuple	tuple;
	NameData	wanted;
	bool		isnull = true;

	namestrcpy(&wanted, name);
	tuple = find_policy_row("key", "name", F_NAMEEQ, NameGetDatum(&wanted), &rel);
	if (tuple != NULL)
		(void) heap_getattr(tuple, get_attnum(RelationGetRelid(rel), "keep"),
							RelationGetDescr(rel), &isnull);
	return !isnull;
}

DpOrderObstacle
dp_guard_order_obstacle(Oid relid, const char *key)
{
	if (relation_bound(relid))
		return DP_ORDER_BOUND;
	return key_expires(key) ? DP_ORDER_EXPIRES : DP_ORDER_ALLOWED;
}

void
dp_guard_check_ordered(Oid relid, Form_pg_attribute att)
{
	const char *key = NameStr(dp_modifier_get(att->atttypmod)->key);
	DpOrderObstacle obstacle = dp_guard_order_obstacle(relid, key);

	if (obstacle == DP_ORDER_BOUND)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" of subject-bound table \"%s\" cannot be ordered",
						NameStr(att->attname), get_rel_name(relid)),
				 errdetail("An index in plaintext order fails everybody once one account's key is destroyed."),
				 errhint("Leave out 'ordered'; a hash index or a token class serves equality.")));
	if (obstacle == DP_ORDER_EXPIRES)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" cannot be ordered under key \"%s\", which expires",
						NameStr(att->attname), key),
				 errdetail("An index in plaintext order fails once a version of its key is destroyed."),
				 errhint("Leave out 'ordered', or use a key without \"keep\".")));
}

/* A token stays where it is, and an index of the token class finds it without a key. */
void
dp_guard_check_searchable(const char *column, const char *key)
{
	if (key_expires(key))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" cannot be searchable under key \"%s\", which expires",
						column, key),
				 errdetail("The token of a value outlives its period, and tells whoever guesses it."),
				 errhint("Leave out 'searchable', or use a key without \"keep\"; a hash index serves equality.")));
}

/* ---- one column of an index ---- */

/* Distinct values that are declared or were counted; 0 where nobody knows. */
static int
known_distinct(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple;
	double		distinct = 0;

	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid),
							Int16GetDatum(attnum), BoolGetDatum(false));
	if (HeapTupleIsValid(tuple))
	{
		distinct = ((Form_pg_statistic) GETSTRUCT(tuple))->stadistinct;
		ReleaseSysCache(tuple);
	}
	return distinct > 0 ? (int) distinct : 0;
}

/* An index that discloses which rows are equal. */
static void
check_equality(Oid relid, Form_pg_attribute att)
{
	Oid			base = dp_typeinfo_get(att->atttypid)->base_oid;
	int			distinct = known_distinct(relid, att->attnum);

	if (base == BOOLOID || type_is_enum(base))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("cannot create an index on column \"%s\" of type %s",
						NameStr(att->attname), format_type_be_qualified(att->atttypid)),
				 errdetail("Which rows are equal would disclose a value of so few possible ones."),
				 errhint("Filter by another column.")));
	if (distinct > 0 && distinct < SMALL_DOMAIN)
		ereport(WARNING,
				(errmsg("index on column \"%s\" discloses how often each of about %d values occurs",
						NameStr(att->attname), distinct),
				 errhint("Whoever reads the disk and knows the usual frequencies can tell the values.")));
}

static void
refuse_order(Oid relid, Form_pg_attribute att, bool unique)
{
	char	   *type_name = format_type_be_qualified(att->atttypid);
	const char *column = quote_identifier(NameStr(att->attname));

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("cannot create an index in plaintext order on column \"%s\" of table \"%s\"",
					NameStr(att->attname), get_rel_name(relid)),
			 errdetail("Such an index discloses the order of all values, and the column is not declared 'ordered'."),
			 unique ?
			 errhint("Declare the column 'searchable' and use CREATE UNIQUE INDEX ... (%s %s_token_ops); for lookups only, an index USING hash (%s).",
					 column, type_name, column) :
			 errhint("Use an index USING hash (%s), or declare the column 'searchable' and use (%s %s_token_ops).",
					 column, column, type_name)));
}

static bool
administers(Oid role)
{
	Oid			admin = get_role_oid("dataprotect_admin", true);

	return superuser_arg(role) || (OidIsValid(admin) && has_privs_of_role(role, admin));
}

/*
 * Who gave the command, which may run as the table's owner by now: the current role then, or who
 * took that on by SET ROLE.
 */
static bool
administrator_acts(void)
{
	return administers(dp_frame->role) ||
		(dp_frame->role == GetOuterUserId() && dp_n_code == 0 && administers(GetSessionUserId()));
}

static bool
actor_reveals(int32 family)
{
	Oid			user;
	int			context;
	bool		reveals;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(dp_frame->role, context);
	reveals = dp_access_privilege(family) == DP_PRIV_REVEAL;
	SetUserIdAndSecContext(user, context);
	return reveals;
}

/* May who gave the command have values compared that he puts into a table? */
static void
check_comparer(Oid relid, const DpModifier *modifier)
{
	int32		family;

	if (dp_own_caller() || (get_rel_persistence(relid) != RELPERSISTENCE_TEMP && administrator_acts()))
		return;
	family = dp_keys_family_by_name(NameStr(modifier->key))->family;
	if (actor_reveals(family))
		return;
	dp_event_admin(DP_EVENT_ACCESS_DENIED, NameStr(modifier->key), NULL);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for key \"%s\"", NameStr(modifier->key)),
			 errdetail("Role \"%s\" needs privilege \"reveal\" on it, or to administer dataprotect, for an index or a foreign key over table \"%s\": both compare values.",
					   GetUserNameFromId(dp_frame->role, true), get_rel_name(relid)),
			 errhint("Let a member of dataprotect_admin make it who is a member of the table's owner too; over a temporary table it takes \"reveal\".")));
}

/* One that is there already: made anew, or its part over a partition. */
static bool
index_was_there(Form_pg_class class)
{
	return class->relispartition || (dp_frame->utility != NULL && IsA(dp_frame->utility, ReindexStmt));
}

/* Of the columns that a constraint names in that array. */
static void
check_compared_columns(HeapTuple constraint, AttrNumber array, Oid relid)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	bool		isnull;
	ArrayType  *keys = DatumGetArrayTypeP(heap_getattr(constraint, array, RelationGetDescr(rel), &isnull));

	table_close(rel, AccessShareLock);
	for (int i = 0; i < ARR_DIMS(keys)[0]; i++)
	{
		HeapTuple	att = dp_guard_fetch_attribute(relid, ((int16 *) ARR_DATA_PTR(keys))[i]);
		int32		typmod = ((Form_pg_attribute) GETSTRUCT(att))->atttypmod;

		if (dp_type_is_encrypted(getBaseTypeAndTypmod(((Form_pg_attribute) GETSTRUCT(att))->atttypid, &typmod)))
			check_comparer(relid, dp_modifier_get(typmod));
	}
}

void
dp_guard_check_foreign_key(Oid constraint)
{
	HeapTuple	tuple = dp_guard_fetch(ConstraintRelationId, ConstraintOidIndexId, Anum_pg_constraint_oid, constraint,
									   InvalidAttrNumber, 0);
	Form_pg_constraint form = HeapTupleIsValid(tuple) ? (Form_pg_constraint) GETSTRUCT(tuple) : NULL;

	if (form == NULL || form->contype != CONSTRAINT_FOREIGN || OidIsValid(form->conparentid))
		return;
	check_compared_columns(tuple, Anum_pg_constraint_conkey, form->conrelid);
	check_compared_columns(tuple, Anum_pg_constraint_confkey, form->confrelid);
}

static void
check_key_column(Oid relid, Form_pg_class class, Oid opclass, bool unique, bool folded, Form_pg_attribute att)
{
	const DpModifier *modifier;
	Oid			default_class;
	Oid			am = class->relam;

	if (!dp_type_is_encrypted(att->atttypid))
	{
		if (dp_contains_encrypted_type(att->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("cannot create an index on column \"%s\" of type %s",
							NameStr(att->attname), format_type_be_qualified(att->atttypid)),
					 errdetail("The type contains protected values."),
					 errhint("Index a column of an encrypted type.")));
		return;
	}
	modifier = dp_modifier_get(att->atttypmod);
	if (!index_was_there(class))
		check_comparer(relid, modifier);
	if (am == GIN_AM_OID && !folded &&
		(dp_word_family(get_opclass_family(opclass), att->atttypid) || dp_lexeme_family(get_opclass_family(opclass), att->atttypid) ||
		 dp_document_family(get_opclass_family(opclass), att->atttypid)))
		return;
	if (am != BTREE_AM_OID && am != HASH_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"%s\" does not support protected columns",
						get_am_name(am)),
				 errdetail("Column \"%s\" has type %s.",
						   NameStr(att->attname), format_type_be_qualified(att->atttypid)),
				 errhint("Use hash, or btree with a token class.")));

	if (am == HASH_AM_OID)
	{
		check_equality(relid, att);
		return;
	}
	default_class = GetDefaultOpClass(att->atttypid, BTREE_AM_OID);
	if (OidIsValid(default_class) &&
		get_opclass_family(default_class) == get_opclass_family(opclass))
	{
		if (!modifier->ordered || folded)
			refuse_order(relid, att, unique);
		dp_guard_check_ordered(relid, att);
		return;
	}
	if (!modifier->searchable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("cannot create a token index on column \"%s\" of table \"%s\"",
						NameStr(att->attname), get_rel_name(relid)),
				 errdetail("The column is not declared 'searchable': its values carry no tokens."),
				 errhint("Declare the column 'searchable', or use an index USING hash (%s).",
						 quote_identifier(NameStr(att->attname)))));
	check_equality(relid, att);
}

/* ---- whole indexes ---- */

static void
refuse_expression(const char *index_name, Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("index \"%s\" cannot use an expression over a protected column of table \"%s\"",
					index_name, get_rel_name(relid)),
			 errdetail("It would store what the expression computes as plaintext."),
			 errhint("Index the column itself, USING hash or with a token class, or dataprotect.blind(column, 'lower') in place of lower(column).")));
}

/* A conflict, or the size of the index, would tell letter by letter what a row holds. */
static void
check_parts(const char *index_name, List *exprs)
{
	ListCell   *lc;

	foreach(lc, exprs)
	{
		if (dp_folded_part(lfirst(lc)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("index \"%s\" over a part of a protected value must be a hash index", index_name),
					 errdetail("Whoever may write, or owns the table, could guess the value part by part."),
					 errhint("Use an index USING hash over this part alone, or one over the whole value.")));
	}
}

static HeapTuple
fetch_index(Oid index_relid)
{
	return dp_guard_fetch(IndexRelationId, IndexRelidIndexId,
						  Anum_pg_index_indexrelid, index_relid, InvalidAttrNumber, 0);
}

/* Does an expression of the index, other than blind(column, folds), bear encrypted values? */
static bool
key_expressions_bear(List *exprs)
{
	ListCell   *lc;

	foreach(lc, exprs)
	{
		if (dp_folded_column(lfirst(lc)) == NULL && dp_contains_encrypted_expression(lfirst(lc)))
			return true;
	}
	return false;
}

/*
 * Does the predicate bear encrypted values otherwise than by asking for empty
 * texts, and of columns whose lengths are to be seen?
 */
static bool
predicate_bears(Oid relid, List *predicate)
{
	ListCell   *lc;

	foreach(lc, predicate)
	{
		bool		by_length;
		Var		   *column = dp_fold_emptiness_of(lfirst(lc), &by_length);
		HeapTuple	att = column != NULL && by_length ? dp_guard_fetch_attribute(relid, column->varattno) : NULL;

		if ((!HeapTupleIsValid(att) || dp_modifier_get(((Form_pg_attribute) GETSTRUCT(att))->atttypmod)->padded) &&
			dp_contains_encrypted_expression(lfirst(lc)))
			return true;
	}
	return false;
}

/* The column that a key of the index folds, by the key's place; InvalidAttrNumber: none. */
static AttrNumber
folded_attnum(Form_pg_index index, List *exprs, int place)
{
	int			nth = 0;
	Var		   *column;

	if (index->indkey.values[place] != 0)
		return InvalidAttrNumber;
	for (int i = 0; i < place; i++)
		nth += index->indkey.values[i] == 0;
	column = dp_folded_column(list_nth(exprs, nth));
	return column != NULL ? column->varattno : InvalidAttrNumber;
}

/* Expressions and predicate use no encrypted value, and make none. */
static bool
expressions_bear(HeapTuple tuple)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
	Node	   *exprs = dp_guard_stored_node(tuple, Anum_pg_index_indexprs, IndexRelationId);
	Node	   *predicate = dp_guard_stored_node(tuple, Anum_pg_index_indpred, IndexRelationId);
	int			i;

	if (key_expressions_bear((List *) exprs) ||
		predicate_bears(index->indrelid, make_ands_implicit((Expr *) predicate)))
		return true;
	for (i = 0; i < index->indnkeyatts; i++)
	{
		HeapTuple	att = index->indkey.values[i] == 0 &&
			folded_attnum(index, (List *) exprs, i) == InvalidAttrNumber ?
			dp_guard_fetch_attribute(index->indexrelid, i + 1) : NULL;

		if (HeapTupleIsValid(att) &&
			dp_contains_encrypted_type(((Form_pg_attribute) GETSTRUCT(att))->atttypid))
			return true;
	}
	return false;
}

bool
dp_guard_index_bears(Oid index_relid)
{
	HeapTuple	tuple = fetch_index(index_relid);
	Form_pg_index index;
	int			i;

	if (!HeapTupleIsValid(tuple))
		return false;
	index = (Form_pg_index) GETSTRUCT(tuple);
	for (i = 0; i < index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->indkey.values[i];
		HeapTuple	att = attnum > 0 ?
			dp_guard_fetch_attribute(index->indrelid, attnum) : NULL;
		Oid			typid = HeapTupleIsValid(att) ?
			((Form_pg_attribute) GETSTRUCT(att))->atttypid : InvalidOid;

		if (OidIsValid(typid) && !dp_type_is_encrypted(typid) && dp_contains_encrypted_type(typid))
			return true;
	}
	return expressions_bear(tuple);
}

void
dp_guard_check_index(Oid index_relid)
{
	HeapTuple	class_tuple;
	HeapTuple	tuple = fetch_index(index_relid);
	Form_pg_class class;
	Form_pg_index index;
	oidvector  *classes;
	List	   *exprs;
	bool		isnull;
	int			i;

	class_tuple = dp_guard_fetch(RelationRelationId, ClassOidIndexId,
								 Anum_pg_class_oid, index_relid, InvalidAttrNumber, 0);
	if (!HeapTupleIsValid(tuple) || !HeapTupleIsValid(class_tuple))
		return;
	index = (Form_pg_index) GETSTRUCT(tuple);
	class = (Form_pg_class) GETSTRUCT(class_tuple);

	if (expressions_bear(tuple))
		refuse_expression(NameStr(class->relname), index->indrelid);

	exprs = (List *) dp_guard_stored_node(tuple, Anum_pg_index_indexprs, IndexRelationId);
	if (class->relam != HASH_AM_OID)
		check_parts(NameStr(class->relname), exprs);
	classes = (oidvector *) DatumGetPointer(
											SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indclass, &isnull));
	for (i = 0; i < index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->indkey.values[i] != 0 ? index->indkey.values[i] :
			folded_attnum(index, exprs, i);
		HeapTuple	att = attnum > 0 ?
			dp_guard_fetch_attribute(index->indrelid, attnum) : NULL;

		if (HeapTupleIsValid(att))
			check_key_column(index->indrelid, class, classes->values[i],
							 index->indisunique, index->indkey.values[i] == 0, (Form_pg_attribute) GETSTRUCT(att));
	}
}

void
dp_guard_check_clustered(Oid index_relid)
{
	HeapTuple	tuple = fetch_index(index_relid);
	Form_pg_index index;
	int			i;

	if (!HeapTupleIsValid(tuple))
		return;
	index = (Form_pg_index) GETSTRUCT(tuple);
	for (i = 0; index->indisclustered && i < index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->indkey.values[i];
		HeapTuple	att = attnum > 0 ?
			dp_guard_fetch_attribute(index->indrelid, attnum) : NULL;

		if (HeapTupleIsValid(att) &&
			dp_contains_encrypted_type(((Form_pg_attribute) GETSTRUCT(att))->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot cluster table \"%s\" on index \"%s\"",
							get_rel_name(index->indrelid), get_rel_name(index_relid)),
					 errdetail("The place of a row in the table would disclose its protected column \"%s\".",
							   NameStr(((Form_pg_attribute) GETSTRUCT(att))->attname)),
					 errhint("Cluster on an index over other columns.")));
	}
}
