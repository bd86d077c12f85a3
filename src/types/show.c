/*
 * show.c
 *	  What the current role may be shown of a value: plaintext, a mask, ciphertext.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/mask.h"
#include "access/xact.h"
#include "audit/track.h"
#include "base/compat.h"
#include "base/guc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "types/maintenance.h"
#include "types/open_memo.h"
#include "types/show.h"
#include "types/storing.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define UNREADABLE_TEXT "****"
#define WARNED_MAX 64			/* keys named by the warnings of one statement */

void
dp_show_warn_unreadable(int32 family)
{
	static TimestampTz warned_statement = 0;
	static int32 warned[WARNED_MAX];
	static int	n_warned = 0;
	int			i;

	if (warned_statement != GetCurrentStatementStartTimestamp())
	{
		warned_statement = GetCurrentStatementStartTimestamp();
		n_warned = 0;
	}
	for (i = 0; i < n_warned; i++)
	{
		if (warned[i] == family)
			return;
	}
	if (n_warned == WARNED_MAX)
		return;
	warned[n_warned++] = family;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("values under key \"%s\" are unreadable",
					NameStr(dp_keys_family(family)->name)),
			 errdetail("Their key is suspended, expired or destroyed.")));
}

/* What the current role may be shown of a value. */
DpPrivilege
dp_show_privilege(const DpValue *value)
{
	DpPrivilege privilege;

	if (value->literal)
		return DP_PRIV_REVEAL;
	if (dp_guc_output == DP_OUTPUT_CIPHERTEXT || HistoricSnapshotActive())
		return DP_PRIV_NONE;
	privilege = dp_access_privilege(value->family);
	if (dp_guc_output == DP_OUTPUT_MASK)
		privilege = Min(privilege, DP_PRIV_MASK);
	return privilege == DP_PRIV_SEARCH ? DP_PRIV_MASK : privilege;
}

static const DpMask *
family_mask(int32 family)
{
	static DpMask mask;
	static char spec[64];
	const DpFamily *row = dp_keys_family(family);

	if (spec[0] == '\0' || strcmp(spec, row->mask) != 0)
	{
		dp_mask_parse_strict(row->mask, &mask);
		strlcpy(spec, row->mask, sizeof(spec));
	}
	return &mask;
}

/*
 * The key of a value that is about to be shown, which is counted in the audit
 * log, except of literals.  False where the key is unreadable.  The key comes
 * first: where its KMS is away, the error names this key and not that of the
 * audit log, and what cannot be read is not counted.
 */
static inline bool
admit(const DpValue *value, DpKey *key)
{
	bool		in_comparator = DP_IN_COMPARATOR();
	bool		for_subject;
	bool		counted;

	if (dp_keys_get(value->env.key_id, DP_USE_READ, in_comparator, key) != DP_KEY_OK)
		return false;
	for_subject = key->purpose == DP_PURPOSE_SUBJECT;
	if (value->literal)
		return true;
	counted = dp_audit_opening_again(value->family);
	if (!counted)
		dp_audit_opening(value->family, NameStr(dp_keys_family(value->family)->name));
	if (for_subject && dp_audit_subject(value->env.key_id))
		counted = false;
	return counted || dp_keys_get(value->env.key_id, DP_USE_READ, in_comparator, key) == DP_KEY_OK;
}

/* What the frame has opened already, held, or NULL. */
static inline DpMemoEntry *
find_opened(const DpTypeInfo *info, const DpValue *value)
{
	dp_open_memo_follow();
	return dp_open_memo_find(info, value->datum);
}

/* Open for showing; false where the key is unreadable. */
bool
dp_show_open(const DpTypeInfo *info, const DpValue *value, Datum *out)
{
	DpMemoEntry *entry;
	DpKey		key;

	if (!admit(value, &key))
		return false;
	entry = find_opened(info, value);
	if (entry == NULL)
	{
		*out = dp_value_open_keyed(info, value, &key);
		return true;
	}
	*out = datumCopy(entry->plain, info->base_byval, info->base_len);
	dp_open_memo_release(entry, DP_MEMO_STAY_BRIEFLY);
	return true;
}

/* The same for a value over text, as a C string. */
static bool
show_text(const DpTypeInfo *info, const DpValue *value, char **out)
{
	DpMemoEntry *entry;
	DpKey		key;

	if (!admit(value, &key))
		return false;
	entry = find_opened(info, value);
	if (entry == NULL)
	{
		*out = dp_value_open_text(info, value, &key);
		return true;
	}
	*out = text_to_cstring((text *) DatumGetPointer(entry->plain));
	dp_open_memo_release(entry, DP_MEMO_STAY_BRIEFLY);
	return true;
}

Datum
dp_show_open_to_store(const DpTypeInfo *info, const DpValue *value)
{
	Datum		plain;

	if (!value->literal && dp_access_privilege(value->family) < DP_PRIV_REVEAL)
		dp_access_denied(value->family, "reveal");
	if (!dp_show_open(info, value, &plain))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a value whose key is suspended or destroyed cannot be moved to another column")));
	return plain;
}

static void
mask_pseudonym(const DpTypeInfo *info, const DpMask *mask, Datum plain, uint8 out[DP_MASK_TOKEN_LEN])
{
	if (mask->kind == DP_MASK_TOKEN)
		dp_value_pseudonym(info, plain, GetUserNameFromId(GetUserId(), false), out);
}

/*
 * The mask as text; NULL for SQL NULL.  Masks that say nothing of the value are
 * made without opening it.
 */
char *
dp_show_mask_text(const DpTypeInfo *info, const DpValue *value)
{
	const DpMask mask = *family_mask(value->family);
	uint8		token[DP_MASK_TOKEN_LEN];
	Datum		plain;
	Datum		masked;
	char	   *result;

	if (mask.kind == DP_MASK_FULL || mask.kind == DP_MASK_NULL)
		return dp_mask_opaque_text(&mask, NULL);
	if (!dp_show_open(info, value, &plain))
		return pstrdup(UNREADABLE_TEXT);
	mask_pseudonym(info, &mask, plain, token);
	if (info->base_oid == TEXTOID)
		result = dp_mask_text(&mask, VARDATA_ANY(DatumGetPointer(plain)),
							  VARSIZE_ANY_EXHDR(DatumGetPointer(plain)), token);
	else if (dp_mask_datum(&mask, info->base_oid, plain, &masked))
		result = OutputFunctionCall(unconstify(FmgrInfo *, &info->base_out), masked);
	else
		result = dp_mask_opaque_text(&mask, token);
	dp_value_dispose(info, plain);
	return result;
}

/* The mask in the base type; false for SQL NULL. */
bool
dp_show_mask(const DpTypeInfo *info, const DpValue *value, Datum *out)
{
	const DpMask mask = *family_mask(value->family);
	char	   *text;
	Datum		plain;
	bool		has_form;

	if (info->base_oid == TEXTOID)
	{
		text = dp_show_mask_text(info, value);
		if (text != NULL)
			*out = PointerGetDatum(cstring_to_text(text));
		return text != NULL;
	}
	if (mask.kind != DP_MASK_YEAR)
		return false;
	if (!dp_show_open(info, value, &plain))
		return false;
	has_form = dp_mask_datum(&mask, info->base_oid, plain, out);
	dp_value_dispose(info, plain);
	return has_form;
}

/* Is the value's key suspended: unreadable for now, and not destroyed? */
static bool
is_suspended(const DpValue *value)
{
	DpKey		key;

	return dp_keys_get(value->env.key_id, DP_USE_READ, false, &key) != DP_KEY_OK &&
		dp_keys_get(value->env.key_id, DP_USE_MAINTAIN, false, &key) == DP_KEY_OK;
}

bool
dp_show_hides(const DpValue *value)
{
	DpPrivilege privilege = dp_show_privilege(value);

	return privilege == DP_PRIV_MASK || (privilege == DP_PRIV_REVEAL && is_suspended(value));
}

/* Is a mask shown as NULL where a value of the base type is asked for? */
static bool
masks_to_null(const DpTypeInfo *info, const DpValue *value)
{
	DpMaskKind	kind = family_mask(value->family)->kind;
	Datum		mask;

	if (info->base_oid == TEXTOID)
		return kind == DP_MASK_NULL;
	if (kind != DP_MASK_YEAR)
		return true;
	if (!dp_show_mask(info, value, &mask))
		return true;
	dp_value_dispose(info, mask);
	return false;
}

bool
dp_show_gives(const DpTypeInfo *info, const DpValue *value, const Datum *plain)
{
	bool		masked = dp_show_privilege(value) == DP_PRIV_MASK;
	const char *shown = UNREADABLE_TEXT;
	char	   *written;
	bool		same;

	if (!dp_show_hides(value))
		return false;
	if (plain == NULL)
		return !masked || masks_to_null(info, value);
	if (masked)
		shown = dp_show_mask_text(info, value);
	if (shown != NULL && (info->base_oid == JSONBOID || info->base_oid == JSONOID))
	{
		/* in a document a mask is a string */
		StringInfoData quoted;

		initStringInfo(&quoted);
		escape_json(&quoted, shown);
		shown = quoted.data;
	}
	written = OutputFunctionCall(unconstify(FmgrInfo *, &info->base_out), *plain);
	same = strcmp(written, shown != NULL ? shown : "") == 0;
	explicit_bzero(written, strlen(written));
	return same;
}

/* pg_dump --inserts reads its tables through a cursor of this name. */
static bool
is_dumping(void)
{
	return PortalIsValid(GetPortalByName("_pg_dump_cursor"));
}

void
dp_show_refuse_copy(void)
{
	bool		copies = dp_audit_in_copy_to();

	if (copies || is_dumping())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 copies ? errmsg("cannot COPY masked values") : errmsg("cannot dump masked values"),
				 errdetail("A copy of masks would look like data when it is loaded again."),
				 errhint("Leave protected columns out, or set \"dataprotect.output\" to \"ciphertext\".")));
}

/* Text of a value for the current role. */
char *
dp_show_text(const DpTypeInfo *info, const DpValue *value)
{
	Datum		plain;
	char	   *result;
	bool		readable;

	switch (dp_show_privilege(value))
	{
		case DP_PRIV_NONE:
			return HistoricSnapshotActive() || am_walsender ? dp_value_to_replicated_armor(value->datum) :
				dp_value_to_armor(value->datum);
		case DP_PRIV_MASK:
		case DP_PRIV_SEARCH:
			dp_show_refuse_copy();
			dp_storing_refuse(NULL, value, DP_NOT_ALLOWED);
			result = dp_show_mask_text(info, value);
			return result != NULL ? result : pstrdup("");
		case DP_PRIV_REVEAL:
			break;
	}
	if (info->encoding == DP_ENC_TEXT)
		readable = show_text(info, value, &result);
	else if ((readable = dp_show_open(info, value, &plain)))
	{
		result = OutputFunctionCall(unconstify(FmgrInfo *, &info->base_out), plain);
		dp_value_dispose(info, plain);
	}
	if (readable)
		return result;
	dp_show_refuse_copy();
	dp_storing_refuse(NULL, value, DP_NOT_READABLE);
	dp_show_warn_unreadable(value->family);
	return pstrdup(UNREADABLE_TEXT);
}
