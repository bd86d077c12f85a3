/*
 * seal_right.c
 *	  Who may seal new values under a named key; see seal_right.h.
 *
 * The columns under a key are found by what depends on the encrypted type: a
 * column, or an array, domain or composite type, and what depends on those.
 *
 *	type in the list		a column of it is under the key
 *	encrypted type			where its modifier names the key
 *	array of the same		likewise
 *	domain, composite		always: "carries"; it is listed only where it is
 *
 * Answers that say yes, but for "search", are remembered until a relation, column or role changes.
 * Revoking a privilege changes a relation or a column.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_type.h"
#include "events/event.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "types/seal_right.h"
#include "types/types.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- who was allowed to ---- */

#define N_KNOWN 8

typedef struct KnownRight
{
	Oid			role;			/* InvalidOid: free */
	int32		family;
	Oid			type;
} KnownRight;

static KnownRight known[N_KNOWN];
static int	next_known = 0;
static uint64 known_since = 0;	/* dp_policy_local_changes() */
static uint64 known_policy = 0; /* dp_policy_generation() */

static void
forget_known(int cacheid, uint32 hashvalue)
{
	memset(known, 0, sizeof(known));
}

static inline bool
is_known(Oid role, int32 family, Oid type)
{
	if (unlikely(known_since != dp_policy_local_changes() || known_policy != dp_policy_generation()))
	{
		forget_known(0, 0);
		known_policy = dp_policy_generation();
		known_since = dp_policy_local_changes();
	}
	for (int i = 0; i < N_KNOWN; i++)
	{
		if (known[i].role == role && known[i].family == family && known[i].type == type)
			return true;
	}
	return false;
}

static void
remember(Oid role, int32 family, Oid type)
{
	KnownRight *right = &known[next_known];

	next_known = (next_known + 1) % N_KNOWN;
	right->role = role;
	right->family = family;
	right->type = type;
}

/* ---- the columns under a key ---- */

typedef struct TypeEntry
{
	Oid			type;
	bool		carries;		/* whatever the modifier of a column of it */
} TypeEntry;

typedef struct Search
{
	NameData	key;
	List	   *types;			/* of TypeEntry; grows while it is worked through */
	List	   *written;		/* relations that the statement writes */
	Oid			role;
	bool		own_counts;		/* does a relation that the role owns? */
	bool		by_privilege;	/* found: the role may write it */
	bool		found;
} Search;

static void
add_type(Search *search, Oid type, bool carries)
{
	TypeEntry  *entry;
	ListCell   *lc;

	if (!OidIsValid(type))
		return;
	foreach(lc, search->types)
	{
		entry = lfirst(lc);
		if (entry->type == type && entry->carries == carries)
			return;
	}
	entry = palloc(sizeof(TypeEntry));
	entry->type = type;
	entry->carries = carries;
	search->types = lappend(search->types, entry);
}

static bool
names_key(const Search *search, int32 typmod)
{
	return typmod >= 0 && strcmp(NameStr(dp_modifier_get(typmod)->key), NameStr(search->key)) == 0;
}

static bool
may_write(Oid relid, Oid role)
{
	return pg_class_aclcheck(relid, role, ACL_INSERT | ACL_UPDATE) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, role, ACL_INSERT, ACLMASK_ANY) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, role, ACL_UPDATE, ACLMASK_ANY) == ACLCHECK_OK;
}

static bool
owns(Oid relid, Oid role)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		result = HeapTupleIsValid(tuple) && has_privs_of_role(role, ((Form_pg_class) GETSTRUCT(tuple))->relowner);

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

static void
weigh_column(Search *search, const TypeEntry *entry, Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
	bool		under_key;

	if (!HeapTupleIsValid(tuple))
		return;
	under_key = ((Form_pg_attribute) GETSTRUCT(tuple))->atttypid == entry->type &&
		(entry->carries || names_key(search, ((Form_pg_attribute) GETSTRUCT(tuple))->atttypmod));
	ReleaseSysCache(tuple);
	if (!under_key)
		return;

	/*
	 * A temporary table is anybody's to make; so is, in some schema, one of his own, whose values a
	 * mask would tell from others.
	 */
	if (get_rel_relkind(relid) != RELKIND_COMPOSITE_TYPE && get_rel_persistence(relid) != RELPERSISTENCE_TEMP &&
		(search->own_counts || !owns(relid, search->role)))
	{
		search->by_privilege = may_write(relid, search->role);
		search->found = search->by_privilege || list_member_oid(search->written, relid);
	}
	if (!search->found)
		add_type(search, get_rel_type_id(relid), true);
}

/* A type that is made of the entry's. */
static void
weigh_type(Search *search, const TypeEntry *entry, Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Form_pg_type form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_type) GETSTRUCT(tuple);
	if (form->typtype == TYPTYPE_DOMAIN && form->typbasetype == entry->type)
	{
		if (entry->carries || names_key(search, form->typtypmod))
			add_type(search, type, true);
	}
	else if (form->typelem == entry->type)
		add_type(search, type, entry->carries);
	ReleaseSysCache(tuple);
}

static void
follow_dependents(Search *search, const TypeEntry *entry)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(TypeRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(entry->type));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, key);
	while (!search->found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == RelationRelationId && depend->objsubid > 0)
			weigh_column(search, entry, depend->objid, depend->objsubid);
		else if (depend->classid == TypeRelationId)
			weigh_type(search, entry, depend->objid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Relations that the innermost executor's statement writes.  Not those of one
 * around it: what it calls has reasons of its own.
 */
static List *
written_relations(void)
{
	List	   *written = NIL;
	DpStatementFrame *frame = dp_frame;
	ListCell   *lc;

	while (frame != NULL && frame->plan == NULL)
		frame = frame->kind == DP_FRAME_UTILITY ? NULL : frame->outer;
	if (frame == NULL || frame->kind == DP_FRAME_END)
		return NIL;
	foreach(lc, frame->plan->resultRelations)
		written = lappend_oid(written, rt_fetch(lfirst_int(lc), frame->plan->rtable)->relid);
	return written;
}

static bool
has_column(const DpFamily *family, Oid encrypted_type, Oid role, bool own_counts, bool *out_by_privilege)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dataprotect right to seal",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Search		search = {{{0}}};

	search.key = family->name;
	search.role = role;
	search.own_counts = own_counts;
	search.written = written_relations();
	add_type(&search, encrypted_type, false);
	for (int i = 0; i < list_length(search.types) && !search.found; i++)
	{
		CHECK_FOR_INTERRUPTS();
		follow_dependents(&search, list_nth(search.types, i));
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	*out_by_privilege = search.by_privilege;
	return search.found;
}

static bool
is_administrator(Oid role)
{
	Oid			admin = get_role_oid("dataprotect_admin", true);

	return superuser_arg(role) || (OidIsValid(admin) && has_privs_of_role(role, admin));
}

bool
dp_seal_check_right(const DpFamily *family, Oid encrypted_type)
{
	Oid			role = GetUserId();
	int32		number = family->family;
	bool		by_privilege = true;
	DpPrivilege privilege;
	bool		sees_tokens;

	if (likely(is_known(role, number, encrypted_type)))
		return false;
	privilege = dp_access_privilege(number);
	if (privilege == DP_PRIV_REVEAL)
		return false;
	sees_tokens = privilege != DP_PRIV_NONE && strcmp(family->mask, "token") == 0;
	if (is_administrator(role) || has_column(family, encrypted_type, role, !sees_tokens, &by_privilege))
	{
		if (by_privilege)
			remember(role, number, encrypted_type);
		return false;
	}
	if (privilege == DP_PRIV_SEARCH)
		return true;
	dp_event_admin(DP_EVENT_ACCESS_DENIED, NameStr(family->name), NULL);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for key \"%s\"", NameStr(family->name)),
			 privilege == DP_PRIV_NONE ?
			 errdetail("Role \"%s\" has no privilege on it, and may write no column of type %s under it.",
					   GetUserNameFromId(role, true), format_type_be(encrypted_type)) :
			 errdetail("Role \"%s\" has privilege \"mask\" on it, and may write no column of type %s under it.",
					   GetUserNameFromId(role, true), format_type_be(encrypted_type)),
			 errhint("Cast to %s without a modifier, or ask for a privilege on the table or the key.",
					 format_type_be(encrypted_type))));
	return false;				/* not reached */
}

void
dp_seal_right_init(void)
{
	static const int caches[] = {RELOID, ATTNUM, AUTHMEMROLEMEM, AUTHOID};

	for (int i = 0; i < lengthof(caches); i++)
		dp_on_cache_change(caches[i], forget_known);
}
