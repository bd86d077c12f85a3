/*
 * online.c
 *	  Keeping a sealed column in step with the plain one that it will replace.
 *
 * dataprotect._online_fill(source, target) is a BEFORE ROW trigger that is
 * ENABLE ALWAYS and the last of its kind (online.sql).  Whoever writes a row
 * writes the sealed value along; a row whose plain value does not change keeps
 * the one that it has.
 *
 * In the moment of the swap an index that was built over the sealed column becomes
 * a constraint's, as ADD CONSTRAINT ... USING INDEX would have it, which knows none
 * over tokens; and a CHECK that was proven for the plain column is for the sealed
 * one, of whose values it says the same: to evaluate it again would take the right
 * to read.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/argument.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/pg_constraint.h"
#include "columns/stored_index.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_online_fill);
PG_FUNCTION_INFO_V1(dp_online_adopt);
PG_FUNCTION_INFO_V1(dp_online_proven);

/* What a column comes down to: the type itself, or that of its elements. */
static Oid
scalar_type(Oid type)
{
	Oid			element = get_element_type(type);

	return OidIsValid(element) ? element : type;
}

/*
 * The cast of a plain column's values to the sealed one's type, coerced as an
 * assignment is.  The last is kept: a statement writes many rows.
 */
static SPIPlanPtr
sealing_plan(Form_pg_attribute source, Form_pg_attribute target)
{
	static SPIPlanPtr kept = NULL;
	static Oid	kept_source;
	static Oid	kept_target;
	static int32 kept_typmod;
	Oid			type = source->atttypid;
	Oid			scalar = scalar_type(target->atttypid);
	SPIPlanPtr	plan;
	SPIPlanPtr	old = kept;

	if (kept != NULL && kept_source == type && kept_target == target->atttypid && kept_typmod == target->atttypmod)
		return kept;
	plan = SPI_prepare(psprintf("SELECT CAST(CAST($1 AS %s%s) AS %s)",
								format_type_extended(dp_typeinfo_get(scalar)->base_oid, -1, FORMAT_TYPE_TYPEMOD_GIVEN),
								scalar == target->atttypid ? "" : "[]",
								format_type_with_typemod(target->atttypid, target->atttypmod)), 1, &type);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not seal a value: %s", SPI_result_code_string(SPI_result));
	kept = plan;
	kept_source = type;
	kept_target = target->atttypid;
	kept_typmod = target->atttypmod;
	if (old != NULL)
		SPI_freeplan(old);
	return plan;
}

static Datum
seal(Form_pg_attribute source, Form_pg_attribute target, Datum value)
{
	bool		isnull;
	Datum		sealed;

	SPI_connect();
	if (SPI_execute_plan(sealing_plan(source, target), &value, NULL, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not seal a value: %s", SPI_result_code_string(SPI_result));
	sealed = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (isnull)
		elog(ERROR, "a sealed value is null");
	sealed = SPI_datumTransfer(sealed, false, -1);
	SPI_finish();
	return sealed;
}

Datum
dp_online_fill(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	new;
	int			source;
	int			target;
	Datum		value;
	Datum		sealed = (Datum) 0;
	bool		isnull;
	bool		kept = false;
	Form_pg_attribute att;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) || trigger->tg_trigger->tgnargs != 2)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function is a trigger before the insertion or update of a row, with two arguments")));
	desc = RelationGetDescr(trigger->tg_relation);
	source = SPI_fnumber(desc, trigger->tg_trigger->tgargs[0]);
	target = SPI_fnumber(desc, trigger->tg_trigger->tgargs[1]);
	if (source <= 0 || target <= 0 || !dp_type_is_encrypted(scalar_type(TupleDescAttr(desc, target - 1)->atttypid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" does not have the columns of trigger \"%s\"",
						RelationGetRelationName(trigger->tg_relation), trigger->tg_trigger->tgname)));
	att = TupleDescAttr(desc, source - 1);
	new = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	value = heap_getattr(new, source, desc, &isnull);
	if (!isnull && TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		bool		was_null;
		bool		was_unsealed;
		Datum		was = heap_getattr(trigger->tg_trigtuple, source, desc, &was_null);

		sealed = heap_getattr(trigger->tg_trigtuple, target, desc, &was_unsealed);
		kept = !was_null && !was_unsealed && datum_image_eq(was, value, att->attbyval, att->attlen);
	}
	if (!isnull && !kept)
		sealed = seal(att, TupleDescAttr(desc, target - 1), value);
	return PointerGetDatum(heap_modify_tuple_by_cols(new, desc, 1, &target, &sealed, &isnull));
}

/* A table of the caller's that is locked against all others. */
static Relation
open_locked(Oid relid)
{
	Relation	rel = dp_argument_relation(relid, AccessShareLock, "rpf");

	if (!has_privs_of_role(GetUserId(), rel->rd_rel->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	if (!CheckRelationLockedByMe(rel, AccessExclusiveLock, true))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not locked", RelationGetRelationName(rel))));
	return rel;
}

/*
 * dataprotect._online_adopt(index regclass, is_primary bool) returns void
 * Make a unique index that of a new constraint with the index's name.
 */
Datum
dp_online_adopt(PG_FUNCTION_ARGS)
{
	Oid			index_oid = PG_GETARG_OID(0);
	Oid			relid = IndexGetRelation(index_oid, true);
	bool		primary = PG_GETARG_BOOL(1);
	Relation	rel;
	Relation	index;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("relation with OID %u is not an index", index_oid)));
	rel = open_locked(relid);
	index = index_open(index_oid, AccessExclusiveLock);
	if (!index->rd_index->indisunique || !index->rd_index->indisvalid ||
		index->rd_index->indisprimary || OidIsValid(get_index_constraint(index_oid)) || dp_index_predicate_of(index->rd_indextuple) != NIL ||
		dp_index_expressions(index->rd_indextuple) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("index \"%s\" cannot be that of a constraint", RelationGetRelationName(index))));
	(void) index_constraint_create(rel, index_oid, InvalidOid, BuildIndexInfo(index), RelationGetRelationName(index),
								   primary ? CONSTRAINT_PRIMARY : CONSTRAINT_UNIQUE,
								   INDEX_CONSTR_CREATE_UPDATE_INDEX | INDEX_CONSTR_CREATE_REMOVE_OLD_DEPS |
								   (primary ? INDEX_CONSTR_CREATE_MARK_AS_PRIMARY : 0),
								   false, false);
	index_close(index, NoLock);
	relation_close(rel, NoLock);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}

/*
 * dataprotect._online_proven(rel regclass, name name) returns void
 * A CHECK of the table that every row fulfils.
 */
Datum
dp_online_proven(PG_FUNCTION_ARGS)
{
	Relation	rel = open_locked(PG_GETARG_OID(0));
	Relation	catalog = table_open(ConstraintRelationId, RowExclusiveLock);
	Oid			oid = get_relation_constraint_oid(RelationGetRelid(rel), NameStr(*PG_GETARG_NAME(1)), false);
	HeapTuple	tuple = SearchSysCacheCopy1(CONSTROID, ObjectIdGetDatum(oid));
	Form_pg_constraint form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", oid);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	if (form->contype == CONSTRAINT_CHECK && !form->convalidated)
	{
		form->convalidated = true;
		CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
		CacheInvalidateRelcache(rel);
	}
	table_close(catalog, RowExclusiveLock);
	relation_close(rel, NoLock);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}
