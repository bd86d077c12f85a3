/*
 * family.c
 *	  Named keys by number and by name, as this backend read them last.
 */
#include "postgres.h"

#include "keys/catalog.h"
#include "keys/generation.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

static HTAB *families = NULL;	/* int32 -> DpFamily */
static const DpFamily *last_family = NULL;	/* found last; in families */

static void
forget_families(void)
{
	if (families != NULL)
		hash_destroy(families);
	families = NULL;
	last_family = NULL;
}

static const DpFamily *
remember_family(const DpFamily *row)
{
	DpFamily   *entry;

	if (families == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(int32);
		ctl.entrysize = sizeof(DpFamily);
		ctl.hcxt = TopMemoryContext;
		families = hash_create("dataprotect families", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(families, &row->family, HASH_ENTER, NULL);
	*entry = *row;
	return entry;
}

bool
dp_keys_family_is_cached(int32 family)
{
	return family == 0 ||
		(families != NULL && hash_search(families, &family, HASH_FIND, NULL) != NULL);
}

const DpFamily *
dp_keys_family(int32 family)
{
	const DpFamily *entry;
	DpFamily	row;

	dp_keys_follow_generation();
	if (likely(last_family != NULL && last_family->family == family))
		return last_family;
	entry = families != NULL ? hash_search(families, &family, HASH_FIND, NULL) : NULL;
	if (entry != NULL)
		return last_family = entry;
	if (InterruptHoldoffCount > 0)
		dp_keys_report_retry(); /* keys changed under a page lock */
	if (!dp_catalog_read_family(family, &row))
		dp_keys_report_missing();
	return remember_family(&row);
}

const DpFamily *
dp_keys_family_find(const char *name)
{
	DpFamily	row;

	dp_keys_follow_generation();
	if (likely(last_family != NULL && strcmp(NameStr(last_family->name), name) == 0))
		return last_family;
	if (families != NULL)
	{
		HASH_SEQ_STATUS seq;
		DpFamily   *entry;

		hash_seq_init(&seq, families);
		while ((entry = hash_seq_search(&seq)) != NULL)
		{
			if (strcmp(NameStr(entry->name), name) == 0)
			{
				hash_seq_term(&seq);
				return last_family = entry;
			}
		}
	}
	return dp_catalog_read_family_by_name(name, &row) ? remember_family(&row) : NULL;
}

const DpFamily *
dp_keys_family_by_name(const char *name)
{
	const DpFamily *family = dp_keys_family_find(name);

	if (family == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("key \"%s\" does not exist", name),
				 errhint("Create it with dataprotect.create_key().")));
	return family;
}

void
dp_keys_family_init(void)
{
	dp_keys_on_forget(forget_families);
}
