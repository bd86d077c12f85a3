/*
 * actor.c
 *	  The session's identity for audit records, with its sealed part cached.
 */
#include "postgres.h"

#include <netdb.h>

#include "access/xact.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/text.h"
#include "base/worker.h"
#include "events/actor.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define MAX_PERSONAL	(DP_RECORD_MAX_SEALED - 64) /* before sealing */
#define MAX_FIELD		512		/* client, application, actor, purpose: cut to one byte less */

/* One role's name, looked up when its number changes. */
typedef struct RoleName
{
	Oid			oid;
	bool		valid;
	NameData	name;
} RoleName;

static DpActorSealer sealer = NULL;
static bool callback_registered = false;
static RoleName current_role;
static RoleName session_role;

/* Of a verified token; empty: none. */
static char subject[DP_ACTOR_SUBJECT];
static TimestampTz subject_until = DT_NOEND;

/* The sealed part without detail, and what it was made of. */
static struct
{
	bool		valid;
	Oid			database;
	char		application[NAMEDATALEN];
	char		purpose[MAX_FIELD];
	uint8		bytes[MAX_FIELD * 5 + 128];
	Size		len;
} cached;

/* The sealed part of the record being written. */
static uint8 sealed_now[DP_RECORD_MAX_SEALED];

void
dp_actor_set_sealer(DpActorSealer new_sealer)
{
	sealer = new_sealer;
}

void
dp_actor_set_subject(const char *new_subject, TimestampTz until)
{
	(void) dp_text_copy(subject, DP_ACTOR_SUBJECT, new_subject);
	subject_until = until;
	cached.		valid = false;
}

static void
forget_names(int cache_id, uint32 hash_value)
{
	current_role.valid = false;
	session_role.valid = false;
}

static void
look_up_name(RoleName *role, Oid oid)
{
	char	   *name;

	if (role->valid && role->oid == oid)
		return;
	if (!callback_registered)
	{
		dp_on_cache_change(AUTHOID, forget_names);
		callback_registered = true;
	}
	name = GetUserNameFromId(oid, true);
	(void) dp_text_copy(NameStr(role->name), NAMEDATALEN, name);
	if (name == NULL)
		snprintf(NameStr(role->name), NAMEDATALEN, "%u", oid);
	role->oid = oid;
	role->valid = true;
}

static void
look_up_names(void)
{
	Oid			session_user;
	Oid			current_user;

	if (!dp_worker_on_behalf(&session_user, &current_user))
	{
		session_user = GetAuthenticatedUserId();
		current_user = GetUserId();
	}
	look_up_name(&current_role, current_user);
	look_up_name(&session_role, session_user);
}

void
dp_actor_prepare(void)
{
	if (IsTransactionState())
		look_up_names();
}

static DpSlice
slice_of(const char *text, Size max)
{
	DpSlice		slice = {(const uint8 *) text, text ? Min(strlen(text), max) : 0};

	return slice;
}

static const char *
client_address(void)
{
	static char address[NI_MAXHOST + NI_MAXSERV + 2];

	if (MyProcPort == NULL || MyProcPort->remote_host == NULL)
		return NULL;
	if (address[0] == '\0')
	{
		if (MyProcPort->remote_port != NULL && MyProcPort->remote_port[0] != '\0')
			snprintf(address, sizeof(address), "%s:%s", MyProcPort->remote_host, MyProcPort->remote_port);
		else
			strlcpy(address, MyProcPort->remote_host, sizeof(address));
	}
	return address;
}

static const char *
purpose_text(void)
{
	return dp_guc_purpose ? dp_guc_purpose : "";
}

/* The text as a record has it; into: MAX_FIELD bytes, valid as long as the slice. */
static DpSlice
personal_slice(const char *text, char *into)
{
	DpSlice		slice = {(const uint8 *) into, dp_text_copy(into, MAX_FIELD, text)};

	return slice;
}

/* Seal what was encoded into out; returns the length, and whether it is sealed. */
static Size
seal_plain(const uint8 *plain, Size len, uint8 *out, Size out_max, bool *out_sealed)
{
	bytea	   *sealed;

	*out_sealed = false;
	if (len == 0)
		return 0;
	if (sealer != NULL && IsTransactionState() && OidIsValid(MyDatabaseId) &&
		sealer(plain, len, &sealed))
	{
		len = VARSIZE_ANY_EXHDR(sealed);
		if (len > out_max)
			elog(ERROR, "sealed audit fields are too long");
		memcpy(out, VARDATA_ANY(sealed), len);
		pfree(sealed);
		*out_sealed = true;
		return len;
	}
	memcpy(out, plain, len);
	return len;
}

/* Encode and seal into out, as above. */
static Size
seal_personal(const char *detail, uint8 *out, Size out_max, bool *out_sealed)
{
	static uint8 plain[MAX_PERSONAL];
	char		texts[4][MAX_FIELD];
	DpPersonal	personal;
	Size		len;

	memset(&personal, 0, sizeof(personal));
	personal.actor = personal_slice(subject[0] != '\0' ? subject : dp_authn_id(), texts[0]);
	personal.client = personal_slice(client_address(), texts[1]);
	personal.application = personal_slice(application_name, texts[2]);
	personal.purpose = personal_slice(purpose_text(), texts[3]);
	personal.detail = slice_of(detail, DP_RECORD_MAX_SEALED);
	len = dp_personal_encode(&personal, plain, sizeof(plain));
	if (len == 0 && detail != NULL)
	{
		personal.detail = slice_of("{\"detail\": \"too long\"}", MAX_FIELD);
		len = dp_personal_encode(&personal, plain, sizeof(plain));
	}
	return seal_plain(plain, len, out, out_max, out_sealed);
}

static void
refresh_cached(void)
{
	const char *application = application_name ? application_name : "";

	if (cached.valid && strcmp(cached.application, application) == 0 &&
		strncmp(cached.purpose, purpose_text(), MAX_FIELD - 1) == 0)
		return;
	cached.		len = seal_personal(NULL, cached.bytes, sizeof(cached.bytes), &cached.valid);

	strlcpy(cached.application, application, NAMEDATALEN);
	strlcpy(cached.purpose, purpose_text(), MAX_FIELD);
}

uint64
dp_actor_session(void)
{
	static uint64 session = 0;
	static int	session_pid = 0;

	if (session_pid != MyProcPid)
	{
		session_pid = MyProcPid;
		session = ((uint64) MyStartTimestamp << 22) ^ (uint64) MyProcPid;
		session = Max(session & PG_INT64_MAX, 1);
	}
	return session;
}

void
dp_actor_fill(DpRecord *record, const char *detail)
{
	bool		sealed;

	record->at = GetCurrentTimestamp();
	record->session = dp_actor_session();
	if (unlikely(subject[0] != '\0') && record->at >= subject_until)
		dp_actor_set_subject(NULL, DT_NOEND);
	if (IsTransactionState() && OidIsValid(MyDatabaseId))
	{
		look_up_names();
		record->role = slice_of(NameStr(current_role.name), NAMEDATALEN);
		record->session_role = slice_of(NameStr(session_role.name), NAMEDATALEN);
	}
	if (detail == NULL)
	{
		refresh_cached();
		record->sealed.data = cached.bytes;
		record->sealed.len = cached.len;
		sealed = cached.valid;
	}
	else
	{
		record->sealed.len = seal_personal(detail, sealed_now, sizeof(sealed_now), &sealed);
		record->sealed.data = sealed_now;
	}
	record->sealed_format = sealed ? DP_SEALED_KEY : DP_SEALED_PLAIN;
}

void
dp_actor_fill_for(DpRecord *record, Oid session, Oid current, const char *detail)
{
	static RoleName names[2];
	uint8		plain[MAX_FIELD];
	DpPersonal	personal;
	bool		sealed;

	memset(&personal, 0, sizeof(personal));
	personal.detail = slice_of(detail, MAX_FIELD / 2);
	record->at = GetCurrentTimestamp();
	record->session = dp_actor_session();
	if (OidIsValid(session) && IsTransactionState())
	{
		names[0].valid = names[1].valid = false;
		look_up_name(&names[0], session);
		look_up_name(&names[1], current);
		record->session_role = slice_of(NameStr(names[0].name), NAMEDATALEN);
		record->role = slice_of(NameStr(names[1].name), NAMEDATALEN);
	}
	record->sealed.len = seal_plain(plain, dp_personal_encode(&personal, plain, sizeof(plain)),
									sealed_now, sizeof(sealed_now), &sealed);
	record->sealed.data = sealed_now;
	record->sealed_format = sealed ? DP_SEALED_KEY : DP_SEALED_PLAIN;
}

void
dp_actor_fill_elsewhere(DpRecord *record, const char *detail)
{
	DpPersonal	personal;

	memset(&personal, 0, sizeof(personal));
	personal.detail = slice_of(detail, DP_RECORD_MAX_SEALED);
	record->at = GetCurrentTimestamp();
	record->session = dp_actor_session();
	look_up_names();
	record->role = slice_of(NameStr(current_role.name), NAMEDATALEN);
	record->session_role = slice_of(NameStr(session_role.name), NAMEDATALEN);
	record->sealed.len = dp_personal_encode(&personal, sealed_now, MAX_PERSONAL);
	if (record->sealed.len == 0)
	{
		personal.detail = slice_of("{\"detail\": \"too long\"}", MAX_FIELD);
		record->sealed.len = dp_personal_encode(&personal, sealed_now, MAX_PERSONAL);
	}
	record->sealed.data = sealed_now;
	record->sealed_format = DP_SEALED_PLAIN;
}
