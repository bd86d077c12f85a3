/*
 * typeinfo.c
 *	  Finding out what an encrypted type is made over.
 *
 * No table of ours says it: an encrypted type is a type whose input function is
 * our C function dp_type_in, and its base type is the target of its implicit
 * cast by dp_to_base.  Both are plain catalog facts, transactional, dumped and
 * restored with the type, and only a superuser can make C functions.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/argument.h"
#include "base/catalog_change.h"
#include "base/report.h"
#include "base/text.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "crypto/aead.h"
#include "funcapi.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* Base types that the extension itself covers.  Stored; append only. */
static const struct
{
	Oid			oid;
	uint32		code;
	DpEncoding	encoding;
	bool		can_token;
}			known_bases[] =

{
	{TEXTOID, 1, DP_ENC_TEXT, true},
	{BYTEAOID, 2, DP_ENC_BYTES, true},
	{INT2OID, 3, DP_ENC_INTEGER, true},
	{INT4OID, 4, DP_ENC_INTEGER, true},
	{INT8OID, 5, DP_ENC_INTEGER, true},
	{FLOAT4OID, 6, DP_ENC_INTEGER, true},
	{FLOAT8OID, 7, DP_ENC_INTEGER, true},
	{NUMERICOID, 8, DP_ENC_SENDRECV, true},
	{BOOLOID, 9, DP_ENC_INTEGER, false},
	{DATEOID, 10, DP_ENC_INTEGER, true},
	{TIMEOID, 11, DP_ENC_INTEGER, true},
	{TIMESTAMPOID, 12, DP_ENC_INTEGER, true},
	{TIMESTAMPTZOID, 13, DP_ENC_INTEGER, true},
	{INTERVALOID, 14, DP_ENC_FIXED, true},
	{UUIDOID, 15, DP_ENC_FIXED, true},
	{INETOID, 16, DP_ENC_SENDRECV, true},
	{JSONBOID, 17, DP_ENC_OUTPUT, true},
};

#define SIGNATURES_KEPT 64

/* See recorded_code(). */
#define CODE_PREFIX "base_"

typedef struct KindEntry
{
	Oid			typid;
	bool		encrypted;
} KindEntry;

typedef struct InfoEntry
{
	Oid			typid;
	DpTypeInfo *info;
} InfoEntry;

static HTAB *kinds = NULL;		/* Oid -> is it encrypted */
static HTAB *infos = NULL;		/* Oid -> DpTypeInfo */
static bool callback_registered = false;

static void
types_changed(int cacheid, uint32 hashvalue)
{
	/* Type infos stay: call sites hold pointers to them. */
	if (kinds != NULL)
		hash_destroy(kinds);
	kinds = NULL;
}

bool
dp_typeinfo_is_c_function(Oid funcid, const char *symbol)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	bool		result = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId)
	{
		bool		isnull;
		Datum		src = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);

		if (!isnull)
		{
			char	   *name = TextDatumGetCString(src);

			result = strcmp(name, symbol) == 0;
			pfree(name);
		}
	}
	ReleaseSysCache(tuple);
	return result;
}

static HTAB *
make_table(const char *name, Size entrysize)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = entrysize;
	ctl.hcxt = TopMemoryContext;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

bool
dp_type_is_encrypted(Oid typid)
{
	KindEntry  *entry;
	HeapTuple	tuple;
	Oid			input = InvalidOid;
	bool		encrypted;

	if (typid < FirstNormalObjectId)
		return false;
	if (!callback_registered)
	{
		dp_on_cache_change(TYPEOID, types_changed);
		callback_registered = true;
	}
	entry = kinds != NULL ? hash_search(kinds, &typid, HASH_FIND, NULL) : NULL;
	if (entry != NULL)
		return entry->encrypted;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);

		if (form->typtype == TYPTYPE_BASE && form->typlen == -1)
			input = form->typinput;
		ReleaseSysCache(tuple);
	}
	encrypted = OidIsValid(input) && dp_typeinfo_is_c_function(input, "dp_type_in");
	if (kinds == NULL)
		kinds = make_table("dataprotect kinds of types", sizeof(KindEntry));
	entry = hash_search(kinds, &typid, HASH_ENTER, NULL);
	entry->encrypted = encrypted;
	return encrypted;
}

/* The cast function between two types, or InvalidOid. */
static Oid
get_cast_function(Oid source, Oid target)
{
	HeapTuple	tuple = SearchSysCache2(CASTSOURCETARGET, ObjectIdGetDatum(source), ObjectIdGetDatum(target));
	Oid			result = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_cast) GETSTRUCT(tuple))->castfunc;
		ReleaseSysCache(tuple);
	}
	return result;
}

static Oid
find_base(Oid typid)
{
	CatCList   *list = SearchSysCacheList1(CASTSOURCETARGET, ObjectIdGetDatum(typid));
	Oid			base = InvalidOid;
	int			i;

	for (i = 0; i < list->n_members && !OidIsValid(base); i++)
	{
		Form_pg_cast form = (Form_pg_cast) GETSTRUCT(&list->members[i]->tuple);

		if (form->castcontext == COERCION_CODE_IMPLICIT && form->casttarget != typid &&
			dp_typeinfo_is_c_function(form->castfunc, "dp_to_base"))
			base = form->casttarget;
	}
	ReleaseSysCacheList(list);
	return base;
}

Oid
dp_typeinfo_encrypted_over(Oid base_oid)
{
	HeapTuple	tuple;
	Oid			result = InvalidOid;
	CatCList   *list;
	int			i;

	/* The assignment cast base -> encrypted leads there. */
	list = SearchSysCacheList1(CASTSOURCETARGET, ObjectIdGetDatum(base_oid));
	for (i = 0; i < list->n_members && !OidIsValid(result); i++)
	{
		Form_pg_cast form;

		tuple = &list->members[i]->tuple;
		form = (Form_pg_cast) GETSTRUCT(tuple);
		if (dp_type_is_encrypted(form->casttarget) && find_base(form->casttarget) == base_oid)
			result = form->casttarget;
	}
	ReleaseSysCacheList(list);
	return result;
}

/*
 * The number that a base type without one of our own gets when its encrypted
 * type is made: a digest of the qualified name, in the upper half.
 */
static uint32
new_code(Oid base_oid)
{
	char	   *name = format_type_extended(base_oid, -1, FORMAT_TYPE_FORCE_QUALIFY);
	uint8		digest[32];

	if (!dp_sha256((uint8 *) name, strlen(name), digest))
		dp_report_no_memory("could not compute a digest");
	pfree(name);
	return 0x80000000 | ((uint32) digest[0] << 24) | ((uint32) digest[1] << 16) |
		((uint32) digest[2] << 8) | digest[3];
}

static char *
first_argument_name(Oid funcid)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	bool		isnull;
	Datum		names;
	char	  **list;
	char	   *result = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	names = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proargnames, &isnull);
	if (!isnull && get_func_input_arg_names(names, PointerGetDatum(NULL), &list) > 0)
		result = list[0];
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The number stands in the catalogs, as the name of the argument of the cast to
 * the base type: the base type's own name may change, and with it a digest of it
 * would.
 */
static uint32
recorded_code(Oid typid, Oid base_oid)
{
	char	   *name = first_argument_name(get_cast_function(typid, base_oid));
	unsigned int code;
	int			len = 0;

	if (name == NULL || sscanf(name, CODE_PREFIX "%8x%n", &code, &len) != 1 ||
		name[len] != '\0' || len != strlen(CODE_PREFIX) + 8)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the number of the base type of %s is not recorded", format_type_be(typid)),
				 errhint("Make the type with dataprotect.create_encrypted_type().")));
	return code;
}

/* True where base_oid can be the base of an encrypted type; *problem says why not. */
static bool
base_ok(Oid base_oid, const char **problem)
{
	char		typtype = get_typtype(base_oid);

	*problem = NULL;
	if (dp_type_is_encrypted(base_oid))
		*problem = "It is an encrypted type already.";
	else if (typtype == TYPTYPE_PSEUDO)
		*problem = "Pseudo-types have no values of their own.";
	else if (typtype == TYPTYPE_DOMAIN)
		*problem = "Encrypt the domain's base type, and put its constraint on the column.";
	else if (typtype == TYPTYPE_COMPOSITE)
		*problem = "Encrypt the attributes, or the row as jsonb.";
	else if (OidIsValid(get_element_type(base_oid)))
		*problem = "Encrypt the elements, or the array as jsonb.";
	else if (base_oid == VARCHAROID || base_oid == NAMEOID)
		*problem = "Use the encrypted type over text; its modifier takes a length.";
	return *problem == NULL;
}

/* Fill base_* of one support function where the type has it. */
static void
fill_support(FmgrInfo *out, Oid funcid)
{
	out->fn_oid = InvalidOid;
	if (OidIsValid(funcid))
		fmgr_info_cxt(funcid, out, TopMemoryContext);
}

/* Is a type citext, by its hash function?  Extensions may be in any schema. */
static bool
folds(Oid base_oid)
{
	TypeCacheEntry *cache = lookup_type_cache(base_oid, TYPECACHE_HASH_PROC);

	return OidIsValid(cache->hash_proc) && dp_typeinfo_is_c_function(cache->hash_proc, "citext_hash");
}

static void
fill_base(DpTypeInfo *info)
{
	Oid			func;
	bool		varlena;
	TypeCacheEntry *cache;
	HeapTuple	tuple;
	int			i;

	info->encoding = DP_ENC_OUTPUT;
	info->code = 0;
	for (i = 0; i < lengthof(known_bases); i++)
	{
		if (known_bases[i].oid == info->base_oid)
		{
			info->code = known_bases[i].code;
			info->encoding = known_bases[i].encoding;
			info->can_token = known_bases[i].can_token;
		}
	}
	if (info->code == 0)
	{
		info->code = recorded_code(info->enc_oid, info->base_oid);
		info->folds = folds(info->base_oid);
		info->can_token = info->folds || info->base_oid == BPCHAROID;
	}
	get_typlenbyvalalign(info->base_oid, &info->base_len, &info->base_byval, &info->base_align);

	getTypeInputInfo(info->base_oid, &func, &info->base_ioparam);
	fill_support(&info->base_in, func);
	getTypeOutputInfo(info->base_oid, &func, &varlena);
	fill_support(&info->base_out, func);

	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(info->base_oid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", info->base_oid);
	fill_support(&info->base_send, ((Form_pg_type) GETSTRUCT(tuple))->typsend);
	fill_support(&info->base_recv, ((Form_pg_type) GETSTRUCT(tuple))->typreceive);
	info->base_typmodin = ((Form_pg_type) GETSTRUCT(tuple))->typmodin;
	ReleaseSysCache(tuple);

	if (info->base_oid == TEXTOID)
	{
		info->base_typmodin = F_VARCHARTYPMODIN;
		info->base_coercion = F_VARCHAR_VARCHAR_INT4_BOOL;
	}
	else if (OidIsValid(info->base_typmodin))
		info->base_coercion = get_cast_function(info->base_oid, info->base_oid);

	cache = lookup_type_cache(info->base_oid,
							  TYPECACHE_EQ_OPR_FINFO | TYPECACHE_CMP_PROC_FINFO | TYPECACHE_HASH_PROC_FINFO);
	fill_support(&info->base_eq, cache->eq_opr_finfo.fn_oid);
	fill_support(&info->base_cmp, cache->cmp_proc_finfo.fn_oid);
	fill_support(&info->base_hash, cache->hash_proc_finfo.fn_oid);
}

const DpTypeInfo *
dp_typeinfo_get(Oid typid)
{
	InfoEntry  *entry = infos != NULL ? hash_search(infos, &typid, HASH_FIND, NULL) : NULL;
	DpTypeInfo *info;
	Oid			base;

	if (entry != NULL)
		return entry->info;
	base = dp_type_is_encrypted(typid) ? find_base(typid) : InvalidOid;
	if (!OidIsValid(base))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("type %s is not an encrypted type", format_type_extended(typid, -1, FORMAT_TYPE_ALLOW_INVALID))));
	info = MemoryContextAllocZero(TopMemoryContext, sizeof(DpTypeInfo));
	info->enc_oid = typid;
	info->base_oid = base;
	(void) dp_text_copy(info->name, sizeof(info->name), format_type_be(typid));
	fill_base(info);
	if (infos == NULL)
		infos = make_table("dataprotect encrypted types", sizeof(InfoEntry));
	entry = hash_search(infos, &typid, HASH_ENTER, NULL);
	entry->info = info;
	return info;
}

/* A function's declared types never change: CREATE OR REPLACE cannot. */
const DpSignature *
dp_typeinfo_signature(Oid funcid)
{
	static DpSignature known[SIGNATURES_KEPT];
	DpSignature *entry = &known[funcid % SIGNATURES_KEPT];
	DpSignature found = {funcid};
	Oid		   *argtypes;
	int			nargs;
	int			i;

	if (entry->funcid == funcid)
		return entry;
	found.rettype = get_func_signature(funcid, &argtypes, &nargs);
	for (i = 0; i < Min(nargs, lengthof(found.argtypes)); i++)
		found.argtypes[i] = argtypes[i];
	pfree(argtypes);
	*entry = found;
	return entry;
}

const DpTypeInfo *
dp_typeinfo_of_call(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	DpSignature signature;
	int			i;

	if (flinfo->fn_extra != NULL)
		return flinfo->fn_extra;
	signature = *dp_typeinfo_signature(flinfo->fn_oid);
	for (i = 0; i < lengthof(signature.argtypes) && flinfo->fn_extra == NULL; i++)
	{
		if (dp_type_is_encrypted(signature.argtypes[i]))
			flinfo->fn_extra = unconstify(DpTypeInfo *, dp_typeinfo_get(signature.argtypes[i]));
	}
	if (flinfo->fn_extra == NULL && dp_type_is_encrypted(signature.rettype))
		flinfo->fn_extra = unconstify(DpTypeInfo *, dp_typeinfo_get(signature.rettype));
	if (flinfo->fn_extra == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("a function of the encrypted types was declared without one")));
	return flinfo->fn_extra;
}

/* The encrypted type whose modifier, or one of whose operator classes, a catalog row is about. */
static Oid
type_of_dependent(Oid class_id, Oid object_id, Oid funcid)
{
	Oid			result = InvalidOid;
	HeapTuple	tuple;

	if (class_id == TypeRelationId)
	{
		tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(object_id));
		if (HeapTupleIsValid(tuple))
		{
			if (((Form_pg_type) GETSTRUCT(tuple))->typmodin == funcid)
				result = object_id;
			ReleaseSysCache(tuple);
		}
	}
	else if (class_id == AccessMethodProcedureRelationId)
	{
		Relation	rel = table_open(AccessMethodProcedureRelationId, AccessShareLock);
		ScanKeyData key[1];
		SysScanDesc scan;

		ScanKeyInit(&key[0], Anum_pg_amproc_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object_id));
		scan = systable_beginscan(rel, AccessMethodProcedureOidIndexId, true, NULL, 1, key);
		tuple = systable_getnext(scan);
		if (HeapTupleIsValid(tuple))
			result = ((Form_pg_amproc) GETSTRUCT(tuple))->amproclefttype;
		systable_endscan(scan);
		table_close(rel, AccessShareLock);
	}
	/* arrays borrow their elements' modifier functions */
	return dp_type_is_encrypted(result) ? result : InvalidOid;
}

static Oid
find_served(Oid funcid)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(funcid));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, key);
	while (!OidIsValid(result) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		result = type_of_dependent(form->classid, form->objid, funcid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

const DpTypeInfo *
dp_typeinfo_served(Oid funcid)
{
	static struct
	{
		Oid			funcid;
		Oid			typid;
	}			known[SIGNATURES_KEPT];
	int			i = funcid % SIGNATURES_KEPT;

	if (known[i].funcid != funcid)
	{
		Oid			typid = find_served(funcid);

		known[i].funcid = OidIsValid(typid) ? funcid : InvalidOid;
		known[i].typid = typid;
	}
	return dp_typeinfo_get(known[i].typid);
}

/* --- for SQL --- */

PG_FUNCTION_INFO_V1(dp_encrypted_type_sql);
PG_FUNCTION_INFO_V1(dp_base_type_sql);
PG_FUNCTION_INFO_V1(dp_check_base_type_sql);
PG_FUNCTION_INFO_V1(dp_base_code_sql);
PG_FUNCTION_INFO_V1(dp_has_tokens_sql);
PG_FUNCTION_INFO_V1(dp_belong_to_type_sql);

/* Encrypted type over a base type, or NULL. */
Datum
dp_encrypted_type_sql(PG_FUNCTION_ARGS)
{
	Oid			base = PG_GETARG_OID(0);
	Oid			result;

	if (base == VARCHAROID)
		base = TEXTOID;
	result = dp_typeinfo_encrypted_over(base);
	if (!OidIsValid(result))
		PG_RETURN_NULL();
	PG_RETURN_OID(result);
}

/* Base type of an encrypted type, or NULL where it is none. */
Datum
dp_base_type_sql(PG_FUNCTION_ARGS)
{
	Oid			typid = PG_GETARG_OID(0);
	Oid			base = dp_type_is_encrypted(typid) ? find_base(typid) : InvalidOid;

	if (!OidIsValid(base))		/* its base type may have been dropped, too */
		PG_RETURN_NULL();
	PG_RETURN_OID(base);
}

Datum
dp_check_base_type_sql(PG_FUNCTION_ARGS)
{
	const char *problem;

	if (!base_ok(PG_GETARG_OID(0), &problem))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("no encrypted type can be made over type %s", format_type_extended(PG_GETARG_OID(0), -1, FORMAT_TYPE_ALLOW_INVALID)),
				 errdetail("%s", problem)));
	PG_RETURN_VOID();
}

/* dataprotect._has_tokens(type regtype) returns bool */
Datum
dp_has_tokens_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dp_typeinfo_get(PG_GETARG_OID(0))->can_token);
}

/*
 * dataprotect._base_code(base regtype) returns text
 * How the number of a base type is written down; NULL for those of our own.
 */
Datum
dp_base_code_sql(PG_FUNCTION_ARGS)
{
	Oid			base_oid = PG_GETARG_OID(0);

	dp_argument_type(base_oid);
	for (int i = 0; i < lengthof(known_bases); i++)
		if (known_bases[i].oid == base_oid)
			PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(CODE_PREFIX "%08x", new_code(base_oid))));
}

/*
 * dataprotect._belong_to_type(class regclass, object oid, type regtype)
 *		returns void
 * The object goes when the type goes.
 */
Datum
dp_belong_to_type_sql(PG_FUNCTION_ARGS)
{
	ObjectAddress object;
	ObjectAddress type;

	ObjectAddressSet(object, PG_GETARG_OID(0), PG_GETARG_OID(1));
	ObjectAddressSet(type, TypeRelationId, PG_GETARG_OID(2));
	recordDependencyOn(&object, &type, DEPENDENCY_AUTO);
	PG_RETURN_VOID();
}
