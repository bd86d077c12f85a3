/*
 * generated.c
 *	  Stored generated columns that compute from protected ones; see generated.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/argument.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/heap.h"
#include "catalog/indexing.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/generated.h"
#include "columns/guard_catalog.h"
#include "columns/guard_index.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "types/derive.h"
#include "types/formula.h"
#include "types/seal.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_generated_formula);
PG_FUNCTION_INFO_V1(dp_generated_expression);
PG_FUNCTION_INFO_V1(dp_generated_make);

bool
dp_generated_is_sealed(Node *expr)
{
	List	   *columns;

	return dp_derive_formula(expr, &columns) != NULL;
}

/* ---- DDL ---- */

pg_noreturn static void
refuse(Form_pg_attribute att)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("generated column \"%s\" cannot use a protected column", NameStr(att->attname)),
			 errdetail("It would store what it computes as plaintext."),
			 errhint("Compute the value in a view; or make the column a protected one, as dataprotect.computed('lower($1)', column) of it.")));
}

/*
 * Values of one key stay under it, and outlive nobody: rows that are sealed for accounts, and
 * keys whose versions are destroyed in time, have none.
 */
static void
check_keys(Oid relid, Form_pg_attribute att, List *columns)
{
	NameData	key = dp_modifier_get(att->atttypmod)->key;
	ListCell   *lc;

	if (dp_guard_order_obstacle(relid, NameStr(key)) != DP_ORDER_ALLOWED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("generated column \"%s\" cannot compute from protected columns", NameStr(att->attname)),
				 errdetail("Its table is bound to accounts, or its key expires: what is computed would outlive what it is computed from."),
				 errhint("Compute the value in a view.")));
	foreach(lc, columns)
	{
		Var		   *var = lfirst_node(Var, lc);

		if (dp_type_is_encrypted(var->vartype) && var->vartypmod >= 0 &&
			strcmp(NameStr(dp_modifier_get(var->vartypmod)->key), NameStr(key)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("generated column \"%s\" computes from a column under another key than \"%s\"",
							NameStr(att->attname), NameStr(key)),
					 errhint("Protect both under one key.")));
	}
}

/*
 * Whoever made a column of a part of what he may not read could search that part by part;
 * a length of its own tells which values are longer.
 */
static void
check_part(Form_pg_attribute att, bool whole)
{
	const DpModifier *modifier = dp_modifier_get(att->atttypmod);
	int32		family;

	if (!whole && modifier->searchable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("generated column \"%s\" is a part of a protected value and cannot be searchable", NameStr(att->attname)),
				 errdetail("Whoever may search, or write, could guess the value part by part.")));
	if (dp_seal_takes_ciphertext())
		return;
	family = dp_keys_family_by_name(NameStr(modifier->key))->family;
	if (dp_access_privilege(family) < DP_PRIV_REVEAL)
		dp_access_denied(family, "reveal");
}

void
dp_generated_check(Oid relid, Form_pg_attribute att, Node *expr)
{
	List	   *columns;
	char	   *text;
	bool		whole;

	if (!dp_contains_encrypted_expression(expr))
		return;
	text = dp_derive_formula(expr, &columns);
	if (text == NULL || !dp_type_is_encrypted(att->atttypid) || att->atttypmod < 0)
		refuse(att);
	if (dp_typeinfo_get(att->atttypid)->encoding == DP_ENC_TEXT && !dp_modifier_get(att->atttypmod)->padded)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("generated column \"%s\" must be 'padded'", NameStr(att->attname)),
				 errdetail("The length of the result would tell of the values.")));
	check_keys(relid, att, columns);
	whole = dp_formula_is_whole(dp_formula_read(text));
	if (!whole || (dp_modifier_get(att->atttypmod)->base_typmod >= 0 && !dp_own_statement()))
		check_part(att, whole);
}

/* ---- for encrypt_column() ---- */

static Datum
column_names(Oid relid, const AttrNumber *columns, int n)
{
	Datum		names[DP_FORMULA_COLUMNS];

	for (int i = 0; i < n; i++)
	{
		NameData   *name = palloc0(NAMEDATALEN);

		namestrcpy(name, get_attname(relid, columns[i], false));
		names[i] = NameGetDatum(name);
	}
	return PointerGetDatum(construct_array(names, n, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

/*
 * dataprotect._generated_formula(rel oid, attnum int2, OUT formula text, OUT columns name[],
 *		OUT whole bool, OUT sealed bool)
 * What a generated column computes; formula: NULL where none says it.
 */
Datum
dp_generated_formula(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	AttrNumber	attnum = PG_GETARG_INT16(1);
	HeapTuple	att = dp_guard_fetch_attribute(relid, attnum);
	HeapTuple	def = dp_guard_fetch(AttrDefaultRelationId, AttrDefaultIndexId, Anum_pg_attrdef_adrelid, relid,
									 Anum_pg_attrdef_adnum, attnum);
	AttrNumber	columns[DP_FORMULA_COLUMNS];
	Datum		values[4] = {0};
	bool		nulls[4] = {true, true, true, false};
	char	   *formula = NULL;
	List	   *vars = NIL;
	int			n = 0;
	TupleDesc	desc;

	if (HeapTupleIsValid(att) && HeapTupleIsValid(def) &&
		((Form_pg_attribute) GETSTRUCT(att))->attgenerated == ATTRIBUTE_GENERATED_STORED)
	{
		Node	   *expr = dp_guard_stored_node(def, Anum_pg_attrdef_adbin, AttrDefaultRelationId);
		ListCell   *lc;

		formula = dp_derive_formula(expr, &vars);
		values[3] = BoolGetDatum(formula != NULL);
		if (formula == NULL)
			formula = dp_formula_of(expr, columns, &n);
		foreach(lc, vars)
			columns[n++] = lfirst_node(Var, lc)->varattno;
	}
	if (formula != NULL)
	{
		values[0] = CStringGetTextDatum(formula);
		values[1] = column_names(relid, columns, n);
		values[2] = BoolGetDatum(dp_formula_is_whole(dp_formula_read(formula)));
		nulls[0] = nulls[1] = nulls[2] = false;
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* dataprotect._formula_expression(formula text, columns name[]) returns text: as SQL has it */
Datum
dp_generated_expression(PG_FUNCTION_ARGS)
{
	DpFormula  *formula = dp_formula_read(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	char	   *columns[DP_FORMULA_COLUMNS];
	Datum	   *names;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &names, NULL, &n);
	for (int i = 0; i < Min(n, DP_FORMULA_COLUMNS); i++)
		columns[i] = pstrdup(quote_identifier(NameStr(*DatumGetName(names[i]))));
	PG_RETURN_TEXT_P(cstring_to_text(dp_formula_print(formula, columns, Min(n, DP_FORMULA_COLUMNS))));
}

/* The expression of a text, as it was parsed. */
static Node *
parse_expression(const char *text)
{
	List	   *statements = raw_parser(psprintf("SELECT %s", text), RAW_PARSE_DEFAULT);
	SelectStmt *select = list_length(statements) == 1 ? (SelectStmt *) linitial_node(RawStmt, statements)->stmt : NULL;

	if (select == NULL || !IsA(select, SelectStmt) || list_length(select->targetList) != 1 || select->fromClause != NIL)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("one expression is needed")));
	return linitial_node(ResTarget, select->targetList)->val;
}

/* A plain column that holds already what it would compute: no command makes it a generated one. */
static void
mark_generated(Relation rel, AttrNumber attnum)
{
	Relation	catalog = table_open(AttributeRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy2(ATTNUM, ObjectIdGetDatum(RelationGetRelid(rel)), Int16GetDatum(attnum));
	Form_pg_attribute att;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for attribute %d of relation %u", attnum, RelationGetRelid(rel));
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	if (att->attisdropped || att->attgenerated != '\0' || att->attidentity != '\0' || att->atthasdef)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" cannot become a generated column", NameStr(att->attname))));
	att->attgenerated = ATTRIBUTE_GENERATED_STORED;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	heap_freetuple(tuple);
	table_close(catalog, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * dataprotect._generate_column(rel regclass, col name, expression text)
 * Make a column of the caller's table a generated one again, without computing it anew.
 */
Datum
dp_generated_make(PG_FUNCTION_ARGS)
{
	Relation	rel = dp_argument_relation(PG_GETARG_OID(0), AccessExclusiveLock, "rp");
	const char *name = NameStr(*PG_GETARG_NAME(1));
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
	Node	   *raw = parse_expression(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;
	Form_pg_attribute att;
	Node	   *expr;

	if (!has_privs_of_role(GetUserId(), rel->rd_rel->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	dp_argument_column(rel, attnum);
	mark_generated(rel, attnum);
	item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, true);
	addNSItemToQuery(pstate, item, true, true, true);
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	expr = cookDefault(pstate, raw, att->atttypid, att->atttypmod, name, ATTRIBUTE_GENERATED_STORED);
	dp_store_default(rel, attnum, expr);
	CommandCounterIncrement();
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}
