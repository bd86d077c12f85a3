/*
 * online.c
 *	  Keeping a sealed column in step with the plain one that it will replace.
 *
 * dataprotect._online_fill(source, target) is a BEFORE ROW trigger that is
 * ENABLE ALWAYS and the last of its kind (online.sql).  Whoever writes a row
 * writes the sealed value along; a row whose plain value does not change keeps
 * the one that it has.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dp_online_fill);

/* Coerced as an assignment to the column is. */
static Datum
seal(Form_pg_attribute source, Form_pg_attribute target, Datum value)
{
	Oid			type = source->atttypid;
	char	   *base = format_type_extended(dp_typeinfo_get(target->atttypid)->base_oid, -1, FORMAT_TYPE_TYPEMOD_GIVEN);
	SPIPlanPtr	plan;
	bool		isnull;
	Datum		sealed;

	SPI_connect();
	plan = SPI_prepare(psprintf("SELECT CAST(CAST($1 AS %s) AS %s)", base,
								format_type_with_typemod(target->atttypid, target->atttypmod)), 1, &type);
	if (plan == NULL || SPI_execute_plan(plan, &value, NULL, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
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
	if (source <= 0 || target <= 0 || !dp_type_is_encrypted(TupleDescAttr(desc, target - 1)->atttypid))
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
