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

#include "access/htup_details.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "crypto/aead.h"
#include "types/types.h"
#include "types/typeinfo.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
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
	{INTERVALOID, 14, DP_ENC_FIXED, false},
	{UUIDOID, 15, DP_ENC_FIXED, true},
	{INETOID, 16, DP_ENC_SENDRECV, false},
	{JSONBOID, 17, DP_ENC_OUTPUT, false},
};

#define SIGNATURES_KEPT 64

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
types_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	/* Type infos stay: call sites hold pointers to them. */
	if (kinds != NULL)
		hash_destroy(kinds);
	kinds = NULL;
}

static bool
is_c_function(Oid funcid, const char *symbol)
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
		CacheRegisterSyscacheCallback(TYPEOID, types_changed, (Datum) 0);
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
	encrypted = OidIsValid(input) && is_c_function(input, "dp_type_in");
	if (kinds == NULL)
		kinds = make_table("dataprotect kinds of types", sizeof(KindEntry));
	entry = hash_search(kinds, &typid, HASH_ENTER, NULL);
	entry->encrypted = encrypted;
	return encrypted;
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
			is_c_function(form->castfunc, "dp_to_base"))
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

uint32
dp_typeinfo_code(Oid base_oid)
{
	char	   *name;
	uint8		digest[32];
	int			i;

	for (i = 0; i < lengthof(known_bases); i++)
	{
		if (known_bases[i].oid == base_oid)
			return known_bases[i].code;
	}
	/* Others: a digest of the qualified name, in the upper half. */
	name = format_type_extended(base_oid, -1, FORMAT_TYPE_FORCE_QUALIFY);
	if (!dp_sha256((uint8 *) name, strlen(name), digest))
		elog(ERROR, "could not compute a digest");
	pfree(name);
	return 0x80000000 | ((uint32) digest[0] << 24) | ((uint32) digest[1] << 16) |
		((uint32) digest[2] << 8) | digest[3];
}

bool
dp_typeinfo_base_ok(Oid base_oid, const char **problem)
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
	else if (base_oid == VARCHAROID || base_oid == BPCHAROID || base_oid == NAMEOID)
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

static void
fill_base(DpTypeInfo *info)
{
	Oid			func;
	bool		varlena;
	TypeCacheEntry *cache;
	HeapTuple	tuple;
	int			i;

	info->encoding = DP_ENC_OUTPUT;
	for (i = 0; i < lengthof(known_bases); i++)
	{
		if (known_bases[i].oid == info->base_oid)
		{
			info->encoding = known_bases[i].encoding;
			info->can_token = known_bases[i].can_token;
		}
	}
	info->code = dp_typeinfo_code(info->base_oid);
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
	{
		tuple = SearchSysCache2(CASTSOURCETARGET, ObjectIdGetDatum(info->base_oid),
								ObjectIdGetDatum(info->base_oid));
		if (HeapTupleIsValid(tuple))
		{
			info->base_coercion = ((Form_pg_cast) GETSTRUCT(tuple))->castfunc;
			ReleaseSysCache(tuple);
		}
	}

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
				 errmsg("type %s is not an encrypted type", format_type_be(typid))));
	info = MemoryContextAllocZero(TopMemoryContext, sizeof(DpTypeInfo));
	info->base_oid = base;
	strlcpy(info->name, format_type_be(typid), sizeof(info->name));
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

const DpTypeInfo *
dp_typeinfo_of_named(Oid funcid, const char *suffix)
{
	char	   *name = get_func_name(funcid);
	Size		suffix_len = strlen(suffix);
	Size		len = name != NULL ? strlen(name) : 0;
	Oid			typid = InvalidOid;

	if (len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0)
	{
		name[len - suffix_len] = '\0';
		typid = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
								ObjectIdGetDatum(get_func_namespace(funcid)));
	}
	return dp_typeinfo_get(typid);
}

/* --- for SQL --- */

PG_FUNCTION_INFO_V1(dp_encrypted_type_sql);
PG_FUNCTION_INFO_V1(dp_base_type_sql);
PG_FUNCTION_INFO_V1(dp_check_base_type_sql);

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

	if (!dp_type_is_encrypted(typid))
		PG_RETURN_NULL();
	PG_RETURN_OID(dp_typeinfo_get(typid)->base_oid);
}

Datum
dp_check_base_type_sql(PG_FUNCTION_ARGS)
{
	const char *problem;

	if (!dp_typeinfo_base_ok(PG_GETARG_OID(0), &problem))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("no encrypted type can be made over type %s", format_type_be(PG_GETARG_OID(0))),
				 errdetail("%s", problem)));
	PG_RETURN_VOID();
}
