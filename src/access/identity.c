/*
 * identity.c
 *	  The session's verified token; see identity.h.
 *
 * No message, event or error has anything of a token but its issuer's word about its
 * bearer, once that is verified.  All that a token was copied to is wiped.
 */
#include "postgres.h"

#include "access/identity.h"
#include "access/token.h"
#include "access/token_keys.h"
#include "access/token_replay.h"
#include "access/xact.h"
#include "base/guc.h"
#include "base/secret.h"
#include "base/compat.h"
#include "base/statement.h"
#include "base/text.h"
#include "datatype/timestamp.h"
#include "events/actor.h"
#include "events/denial.h"
#include "events/event.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(dp_identity_authenticate);
PG_FUNCTION_INFO_V1(dp_identity_person);

#define UNIX_EPOCH ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

static struct
{
	bool		valid;
	bool		for_transaction;
	bool		has_mfa;
	TimestampTz until;
	char		subject[4 * DP_TOKEN_NAME + 1]; /* in the server's encoding */
	Jsonb	   *claims;			/* in TopMemoryContext */
	SubTransactionId taken_in;	/* of this transaction; 0: of an earlier one */
} identity;

static uint64 changes = 0;

uint64
dp_identity_changes(void)
{
	return changes;
}

static void
end_identity(void)
{
	if (!identity.valid)
		return;
	identity.	valid = false;

	if (identity.claims != NULL)
		pfree(identity.claims);
	identity.	claims = NULL;
	identity.	subject[0] = '\0';

	dp_actor_set_subject(NULL, DT_NOEND);
	changes++;
}

static bool
holds(TimestampTz now, TimestampTz *until)
{
	if (!identity.valid || now >= identity.until)
		return false;
	*until = Min(*until, identity.until);
	return true;
}

bool
dp_identity_has_mfa(TimestampTz now, TimestampTz *until)
{
	return holds(now, until) && identity.has_mfa;
}

bool
dp_identity_has_claims(Jsonb *wanted, TimestampTz now, TimestampTz *until)
{
	return holds(now, until) &&
		DatumGetBool(DirectFunctionCall2(jsonb_contains, JsonbPGetDatum(identity.claims), JsonbPGetDatum(wanted)));
}

static TimestampTz
timestamp_of(int64 unix_seconds)
{
	return (unix_seconds - UNIX_EPOCH) * USECS_PER_SEC;
}

static const char *
check_times(const DpToken *token, TimestampTz now, TimestampTz *out_until)
{
	TimestampTz leeway = dp_guc_jwt_leeway * USECS_PER_SEC;

	if (!token->has_expires)
		return "It never expires.";
	*out_until = timestamp_of(token->expires) + leeway;
	if (*out_until <= now)
		return "It has expired.";
	if (timestamp_of(token->expires) - now > dp_guc_jwt_lifetime * USECS_PER_SEC)
		return "It is valid for longer than \"dataprotect.jwt_lifetime\" allows.";
	if (token->has_not_before && timestamp_of(token->not_before) - leeway > now)
		return "It is not valid yet.";
	if (token->has_issued && timestamp_of(token->issued) - leeway > now)
		return "It was issued in the future.";
	return NULL;
}

static const char *
check_use(const DpToken *token, TimestampTz until)
{
	if (dp_guc_jwt_replay == DP_JWT_REPLAY_ALLOW)
		return NULL;
	if (token->id == NULL || !token->has_issued)
		return "It has no identifier or no time of issue, so that its second use would not be noticed.";
	switch (dp_token_use(token->issuer, token->id, timestamp_of(token->issued), until))
	{
		case DP_TOKEN_FIRST:
			return NULL;
		case DP_TOKEN_USED:
			return "It was used before.";
		case DP_TOKEN_FORGOTTEN:
			return "It was issued before the server started, and may have been used then.";
		case DP_TOKEN_NO_ROOM:
			break;
	}
	return "Too many tokens are in use.";
}

/* NULL, or why the token is refused.  Its use is noted last. */
static const char *
verify(const char *text, size_t len, char *room, DpToken *token, TimestampTz *out_until)
{
	const char *problem = dp_token_parse(text, len, room, token);
	bool		for_us = false;

	if (problem != NULL)
		return problem;
	if (!dp_token_keys_verify(token, text))
		return "Its signature is not by a key of its issuer.";
	if (token->issuer == NULL || strcmp(token->issuer, dp_guc_jwt_issuer) != 0)
		return "It is from another issuer.";
	for (int i = 0; i < token->n_audience; i++)
		for_us |= strcmp(token->audience[i], dp_guc_jwt_audience) == 0;
	if (!for_us)
		return "It is for another audience.";
	if (token->subject == NULL)
		return "It has no subject.";
	problem = check_times(token, GetCurrentTimestamp(), out_until);
	return problem != NULL ? problem : check_use(token, *out_until);
}

static bool
says_second_factor(const char *value)
{
	List	   *accepted;
	ListCell   *cell;

	if (value == NULL || !SplitGUCList(pstrdup(dp_guc_jwt_mfa), ',', &accepted))
		return false;
	foreach(cell, accepted)
	{
		if (strcmp(lfirst(cell), value) == 0)
			return true;
	}
	return false;
}

/* Claims in the server's encoding; NULL where they have no form in it. */
static Jsonb *
claims_of(const DpToken *token)
{
	Jsonb	   *volatile claims = NULL;
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		char	   *text = pg_any_to_server(token->payload, token->payload_len, PG_UTF8);
		Jsonb	   *parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));

		claims = MemoryContextAlloc(TopMemoryContext, VARSIZE(parsed));
		memcpy(claims, parsed, VARSIZE(parsed));
	}
	PG_CATCH();
	{
		/* Its message would show them. */
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return claims;
}

static void
record_refusal(const char *problem)
{
	StringInfoData detail;

	if (!dp_denial_note(DP_DENIAL_TOKEN, NULL))
		return;
	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"problem\": ");
	escape_json(&detail, problem);
	appendStringInfoChar(&detail, '}');
	dp_event_admin(DP_EVENT_IDENTITY_REFUSED, NULL, detail.data);
}

static void
describe(StringInfo out)
{
	initStringInfo(out);
	appendStringInfoString(out, "{\"subject\": ");
	escape_json(out, identity.subject);
	appendStringInfoString(out, ", \"issuer\": ");
	escape_json(out, dp_guc_jwt_issuer);
	appendStringInfo(out, ", \"mfa\": %s, \"for_transaction\": %s, \"expires_at\": ",
					 identity.has_mfa ? "true" : "false", identity.for_transaction ? "true" : "false");
	escape_json(out, timestamptz_to_str(identity.until));
	appendStringInfoChar(out, '}');
}

static const char *
take_identity(const char *text, size_t len, char *room, bool for_transaction, StringInfo out)
{
	DpToken		token;
	TimestampTz until = 0;
	const char *problem = verify(text, len, room, &token, &until);
	Jsonb	   *claims;

	end_identity();
	if (problem != NULL)
		return problem;
	claims = claims_of(&token);
	if (claims == NULL)
		return "Its claims cannot be read in the encoding of the database.";
	identity.	claims = claims;

	/* has a form in the server's encoding, as all claims have */
	strlcpy(identity.subject, pg_any_to_server(token.subject, strlen(token.subject), PG_UTF8), sizeof(identity.subject));
	identity.	for_transaction = for_transaction;
	identity.	until = until;
	identity.	has_mfa = says_second_factor(token.acr);

	for (int i = 0; i < token.n_amr; i++)
		identity.	has_mfa |= says_second_factor(token.amr[i]);
	identity.	taken_in = GetCurrentSubTransactionId();
	identity.	valid = true;

	changes++;
	describe(out);
	dp_actor_set_subject(identity.subject, until);
	return NULL;
}

static void
check_settings(bool for_transaction)
{
	if (dp_guc_jwt_issuer[0] == '\0' || dp_guc_jwt_audience[0] == '\0' ||
		(dp_guc_jwt_keys_file[0] == '\0' && dp_guc_jwt_keys_url[0] == '\0'))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tokens are not accepted"),
				 errdetail("No issuer, audience or keys are set."),
				 errhint("Set \"dataprotect.jwt_issuer\", \"dataprotect.jwt_audience\", and \"dataprotect.jwt_keys_file\" or \"dataprotect.jwt_keys_url\", and restart the server.")));
	if (!for_transaction && dp_guc_pooled)
		ereport(ERROR,
				(errcode(ERRCODE_CANT_CHANGE_RUNTIME_PARAM),
				 errmsg("a token cannot be taken for a session that clients share"),
				 errdetail("\"dataprotect.pooled\" is on: the next client would be taken for its subject."),
				 errhint("Leave \"for_transaction\" out, and call within a transaction.")));
	if (for_transaction && !IsTransactionBlock())
		ereport(WARNING,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("dataprotect.authenticate() holds until the end of this statement only"),
				 errhint("Call it within a transaction block.")));
}

/* dataprotect.authenticate(jwt text, for_transaction bool) returns jsonb */
Datum
dp_identity_authenticate(PG_FUNCTION_ARGS)
{
	bool		for_transaction = PG_ARGISNULL(1) ? dp_guc_pooled : PG_GETARG_BOOL(1);
	StringInfoData said;
	const char *problem;
	text	   *token;
	char	   *text_of_token;
	char	   *room;
	size_t		len;

	check_settings(for_transaction);
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("no token is given")));
	token = PG_GETARG_TEXT_PP(0);
	len = VARSIZE_ANY_EXHDR(token);
	text_of_token = dp_secret_acquire(len + 1);
	room = dp_secret_acquire(DP_TOKEN_ROOM);
	memcpy(text_of_token, VARDATA_ANY(token), len);
	text_of_token[len] = '\0';
	problem = take_identity(text_of_token, len, room, for_transaction, &said);
	dp_secret_release(room);
	dp_secret_release(text_of_token);
	if (problem != NULL)
	{
		record_refusal(problem);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the token is refused"),
				 errdetail("%s", problem),
				 errhint("Get a new token from the issuer.")));
	}
	dp_event_admin(DP_EVENT_IDENTITY_AUTHENTICATED, NULL, said.data);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(said.data));
}

static void
set_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	*value = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/* dataprotect._person() returns (role oid, subject text, system_user_name text) */
Datum
dp_identity_person(PG_FUNCTION_ARGS)
{
	TimestampTz until = DT_NOEND;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = ObjectIdGetDatum(GetAuthenticatedUserId());
	set_text(&values[1], &nulls[1], holds(GetCurrentTimestamp(), &until) ? identity.subject : NULL);
	set_text(&values[2], &nulls[2], dp_authn_id());
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Poolers hand a session on with these; so may a client. */
static void
end_with_session(const DpUtility *utility, Datum *state)
{
	const Node *statement = utility->statement;

	if (likely(!identity.valid))
		return;
	if (IsA(statement, DiscardStmt) && ((const DiscardStmt *) statement)->target == DISCARD_ALL)
		end_identity();
	else if (IsA(statement, VariableSetStmt))
	{
		const VariableSetStmt *set = (const VariableSetStmt *) statement;

		if (set->kind == VAR_RESET_ALL || (set->name != NULL && strcmp(set->name, "session_authorization") == 0))
			end_identity();
	}
}

/* A parallel worker does not know what only this backend knows. */
static void
keep_to_leader(QueryDesc *query)
{
	if (identity.valid)
		query->plannedstmt->parallelModeNeeded = false;
}

static void
end_with_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PREPARE:
			if (identity.for_transaction)
				end_identity();
			identity.	taken_in = InvalidSubTransactionId;

			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			if (identity.for_transaction || identity.taken_in != InvalidSubTransactionId)
				end_identity();
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;				/* triggers that are deferred may still read */
	}
}

static void
end_with_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_ABORT_SUB:
			if (identity.taken_in >= mine)
				end_identity();
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
		case SUBXACT_EVENT_COMMIT_SUB:
			break;				/* numbers of subtransactions only grow within a transaction */
	}
}

static const DpSubscriber subscriber = {
	.name = "identity",
	.starting = keep_to_leader,
	.begin_utility = end_with_session,
};

void
dp_identity_init(void)
{
	dp_token_replay_init();
	dp_statement_subscribe(&subscriber);
	RegisterXactCallback(end_with_transaction, NULL);
	RegisterSubXactCallback(end_with_subtransaction, NULL);
}
