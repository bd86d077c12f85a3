/*
 * modifier_table.c
 *	  The rows of dataprotect.type_modifier; see modifier_table.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/compat.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "keys/catalog.h"
#include "miscadmin.h"
#include "types/modifier_seal.h"
#include "types/modifier_table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define Anum_modifier_typmod		1
#define Anum_modifier_type			2
#define Anum_modifier_definition	3
#define Anum_modifier_key			4
#define Anum_modifier_searchable	5
#define Anum_modifier_ordered		6
#define Anum_modifier_base_typmod	7
#define Anum_modifier_role			8
#define Anum_modifier_padded		9
#define Anum_modifier_seal			10
#define Natts_modifier				10

Relation
dp_modifier_table_open(LOCKMODE mode, bool missing_ok)
{
	Oid			schema = get_namespace_oid("dataprotect", true);

	if (missing_ok && (!OidIsValid(schema) || !OidIsValid(get_relname_relid("type_modifier", schema))))
		return NULL;
	return table_open(dp_catalog_relation("type_modifier"), mode);
}

static void
read_row(TupleDesc desc, HeapTuple tuple, DpModifierRow *out)
{
	bool		isnull;

	memset(&out->modifier, 0, sizeof(out->modifier));
	out->modifier.typmod = DatumGetInt32(heap_getattr(tuple, Anum_modifier_typmod, desc, &isnull));
	out->modifier.type = DatumGetObjectId(heap_getattr(tuple, Anum_modifier_type, desc, &isnull));
	out->definition = TextDatumGetCString(heap_getattr(tuple, Anum_modifier_definition, desc, &isnull));
	namestrcpy(&out->modifier.key, NameStr(*DatumGetName(heap_getattr(tuple, Anum_modifier_key, desc, &isnull))));
	out->modifier.searchable = DatumGetBool(heap_getattr(tuple, Anum_modifier_searchable, desc, &isnull));
	out->modifier.ordered = DatumGetBool(heap_getattr(tuple, Anum_modifier_ordered, desc, &isnull));
	out->modifier.padded = DatumGetBool(heap_getattr(tuple, Anum_modifier_padded, desc, &isnull));
	out->modifier.base_typmod = DatumGetInt32(heap_getattr(tuple, Anum_modifier_base_typmod, desc, &isnull));
}

static int
worth(const DpModifierRow *row)
{
	return (row->sealed ? 2 : 0) + (row->certain ? 1 : 0);
}

/*
 * The best row that the keys lead to: see modifier_table.h.
 * with_uncommitted: rows of transactions that are still open count too.
 */
static bool
find_row(Relation rel, const char *index, int n_keys, ScanKey keys, bool with_uncommitted, DpModifierRow *out)
{
	SnapshotData dirty;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	InitDirtySnapshot(dirty);
	scan = systable_beginscan(rel, dp_catalog_relation(index), true,
							  with_uncommitted ? &dirty : SnapshotSelf, n_keys, keys);
	while ((!found || !out->certain || !out->sealed) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		DpModifierRow row;

		/* a row that somebody is about to remove is not one to rely on */
		row.certain = !with_uncommitted || (!TransactionIdIsValid(dirty.xmin) && !TransactionIdIsValid(dirty.xmax));
		row.sealed = dp_modifier_row_is_sealed(rel, tuple);
		if (found && worth(&row) <= worth(out))
			continue;
		read_row(RelationGetDescr(rel), tuple, &row);
		*out = row;
		found = true;
	}
	systable_endscan(scan);
	return found;
}

bool
dp_modifier_table_find_number(Relation rel, int32 typmod, bool with_uncommitted, DpModifierRow *out)
{
	ScanKeyData key[1];

	ScanKeyInit(&key[0], Anum_modifier_typmod, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(typmod));
	return find_row(rel, "type_modifier_typmod", 1, key, with_uncommitted, out);
}

bool
dp_modifier_table_find_words(Relation rel, Oid type, const char *definition, bool with_uncommitted, DpModifierRow *out)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], Anum_modifier_type, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
	ScanKeyInit(&key[1], Anum_modifier_definition, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(definition));
	return find_row(rel, "type_modifier_words", 2, key, with_uncommitted, out);
}

bool
dp_modifier_row_says(const DpModifierRow *row, Oid type, const char *definition)
{
	return row->modifier.type == type && strcmp(row->definition, definition) == 0;
}

static void
check_role_limit(Relation rel)
{
	ScanKeyData key[1];
	SysScanDesc scan;
	int			n = 0;

	if (superuser())
		return;
	ScanKeyInit(&key[0], Anum_modifier_role, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(GetUserId()));
	scan = systable_beginscan(rel, dp_catalog_relation("type_modifier_role"), true, SnapshotSelf, 1, key);
	while (n < DP_MODIFIERS_PER_ROLE && HeapTupleIsValid(systable_getnext(scan)))
		n++;
	systable_endscan(scan);
	if (n >= DP_MODIFIERS_PER_ROLE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("role \"%s\" cannot register more than %d modifiers of encrypted types",
						GetUserNameFromId(GetUserId(), false), DP_MODIFIERS_PER_ROLE),
				 errdetail("Modifiers that no column uses any more are removed from time to time."),
				 errhint("Use the modifiers that there are, or let a superuser make the table.")));
}

void
dp_modifier_table_insert(Relation rel, const DpModifier *m, const char *definition)
{
	Datum		values[Natts_modifier];
	bool		nulls[Natts_modifier] = {false};
	NameData	key = m->key;
	HeapTuple	tuple;
	bytea	   *seal;
	DpModifierRow other;

	check_role_limit(rel);
	values[Anum_modifier_typmod - 1] = Int32GetDatum(m->typmod);
	values[Anum_modifier_type - 1] = ObjectIdGetDatum(m->type);
	values[Anum_modifier_definition - 1] = CStringGetTextDatum(definition);
	values[Anum_modifier_key - 1] = NameGetDatum(&key);
	values[Anum_modifier_searchable - 1] = BoolGetDatum(m->searchable);
	values[Anum_modifier_ordered - 1] = BoolGetDatum(m->ordered);
	values[Anum_modifier_base_typmod - 1] = Int32GetDatum(m->base_typmod);
	values[Anum_modifier_padded - 1] = BoolGetDatum(m->padded);
	values[Anum_modifier_role - 1] = ObjectIdGetDatum(GetUserId());
	values[Anum_modifier_seal - 1] = (Datum) 0;
	nulls[Anum_modifier_seal - 1] = true;
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	seal = dp_modifier_seal(rel, tuple);
	if (seal != NULL)
	{
		heap_freetuple(tuple);
		values[Anum_modifier_seal - 1] = PointerGetDatum(seal);
		nulls[Anum_modifier_seal - 1] = false;
		tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	}
	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
	CacheInvalidateRelcache(rel);

	/*
	 * Written first and asked then: of two who give one number to different words at the same
	 * moment, at least one sees the other here.
	 */
	if (dp_modifier_table_find_number(rel, m->typmod, true, &other) && !dp_modifier_row_says(&other, m->type, definition))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("another transaction has taken the number of modifier (%s)", definition),
				 errhint("Try again.")));
}

DpPrf *
dp_modifier_table_prf(void)
{
	bytea	   *secret = dp_modifier_secret();
	DpPrf	   *prf = NULL;

	if (secret != NULL && VARSIZE_ANY_EXHDR(secret) == DP_KEY_LEN)
		prf = dp_prf_new((const uint8 *) VARDATA_ANY(secret));
	if (prf == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s\" does not hold its secret", "dataprotect.modifier_secret")));
	return prf;
}
