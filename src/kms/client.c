/*
 * client.c
 *	  A backend's side of the request slots.
 *
 * A waiter counts in its slot's refs and sleeps on the slot's condition
 * variable.  It leaves by the result, by its own deadline (GRACE_MS after the
 * agent's, so that the agent's words arrive), or by an error; in each case refs
 * goes down by exactly one.  An agent that dies puts its slots back to QUEUED;
 * one that does not come back leaves its waiters to their deadlines.
 */
#include "postgres.h"

#include "base/guc.h"
#include "kms/kms_shmem.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"

#define GRACE_MS 250

/* dp_kms_fetch came to a conclusion without a slot. */
#define NO_SLOT			(-1)

static DpKmsPresent present_callback = NULL;

void
dp_kms_set_present(DpKmsPresent present)
{
	present_callback = present;
}

static void
set_error(DpKmsError *error, int sqlstate, const char *uri, const char *detail)
{
	error->sqlstate = sqlstate;
	strlcpy(error->uri, uri, sizeof(error->uri));
	strlcpy(error->detail, detail, sizeof(error->detail));
}

static void
fill_request(DpKmsRequest *request, DpKmsKind kind, Oid database, const DpKmsContext *context,
			 const char *const *uris, const DpKmsBlob *blobs, int n_uris)
{
	Assert(n_uris >= 1 && n_uris <= DP_KMS_MAX_URIS);

	memset(request, 0, sizeof(*request));
	request->kind = kind;
	request->database = database;
	request->context = *context;
	request->n_uris = n_uris;
	for (int i = 0; i < n_uris; i++)
	{
		strlcpy(request->uris[i], uris[i], DP_KMS_URI_MAX);
		if (blobs != NULL)
			request->blobs[i] = blobs[i];
	}
	request->deadline = dp_kms_now() + dp_guc_kms_timeout;
}

static bool
same_request(const DpKmsRequest *a, const DpKmsRequest *b)
{
	if (a->kind != b->kind || a->database != b->database ||
		a->context.key_id != b->context.key_id || a->n_uris != b->n_uris)
		return false;
	for (int i = 0; i < a->n_uris; i++)
	{
		if (strcmp(a->uris[i], b->uris[i]) != 0)
			return false;
	}
	return true;
}

static bool
is_reusable(const DpKmsSlot *slot)
{
	return slot->state == DP_KMS_SLOT_FREE ||
		(slot->state == DP_KMS_SLOT_DONE && slot->refs == 0);
}

/* The slot where the same fetch is under way, or has just failed; else NULL. */
static DpKmsSlot *
find_fetch(const DpKmsRequest *request)
{
	int64		now = dp_kms_now();

	for (int i = 0; i < DP_KMS_SLOTS; i++)
	{
		DpKmsSlot  *slot = &dp_kms_shared->slots[i];

		if (slot->state == DP_KMS_SLOT_FREE || !same_request(&slot->request, request))
			continue;
		if (slot->state != DP_KMS_SLOT_DONE ||
			(!slot->ok && now < slot->done_at + DP_KMS_NEGATIVE_MS))
			return slot;
	}
	return NULL;
}

/* A free slot, or the unused one that has been over for longest; NULL if none. */
static DpKmsSlot *
find_reusable(void)
{
	DpKmsSlot  *best = NULL;

	for (int i = 0; i < DP_KMS_SLOTS; i++)
	{
		DpKmsSlot  *slot = &dp_kms_shared->slots[i];

		if (!is_reusable(slot))
			continue;
		if (slot->state == DP_KMS_SLOT_FREE)
			return slot;
		if (best == NULL || slot->done_at < best->done_at)
			best = slot;
	}
	return best;
}

static void
queue_slot(DpKmsSlot *slot, const DpKmsRequest *request, int refs)
{
	slot->request = *request;
	slot->refs = refs;
	slot->ok = false;
	slot->state = DP_KMS_SLOT_QUEUED;
	if (dp_kms_shared->agent != NULL)
		SetLatch(dp_kms_shared->agent);
}

/*
 * Put the request into a slot, or join the one that has it.  Returns the slot's
 * number with a reference, or NO_SLOT: *out_ok then is the result.
 */
static pg_noinline int
enter(const DpKmsRequest *request, bool *out_ok, DpKmsError *out_error)
{
	for (;;)
	{
		DpKmsSlot  *slot = NULL;
		int			result = NO_SLOT;
		bool		decided = false;
		int64		remaining;

		LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
		if (request->kind == DP_KMS_FETCH)
			slot = find_fetch(request);

		if (slot != NULL && slot->state == DP_KMS_SLOT_DONE)
		{
			*out_error = slot->error;
			*out_ok = false;
			decided = true;
		}
		else if (slot != NULL)
		{
			slot->refs++;
			/* While no agent took it, the latest waiter's deadline counts. */
			if (slot->state == DP_KMS_SLOT_QUEUED)
				slot->request.deadline = Max(slot->request.deadline, request->deadline);
			result = slot - dp_kms_shared->slots;
		}
		else if (request->kind == DP_KMS_FETCH && present_callback != NULL &&
				 present_callback(request->database, request->context.key_id))
		{
			*out_ok = true;
			decided = true;
		}
		else if ((slot = find_reusable()) != NULL)
		{
			queue_slot(slot, request, 1);
			result = slot - dp_kms_shared->slots;
		}
		LWLockRelease(dp_kms_lock);

		if (decided || result != NO_SLOT)
		{
			ConditionVariableCancelSleep();
			return result;
		}

		remaining = request->deadline - dp_kms_now();
		if (remaining <= 0)
		{
			ConditionVariableCancelSleep();
			set_error(out_error, ERRCODE_CONNECTION_FAILURE, request->uris[0],
					  "The key agent is busy with other requests.");
			*out_ok = false;
			return NO_SLOT;
		}
		/* The first call only prepares: it returns at once and we look again. */
		ConditionVariableTimedSleep(&dp_kms_shared->slot_freed, remaining, PG_WAIT_EXTENSION);
	}
}

static void
release_slot(DpKmsSlot *slot)
{
	bool		freed = false;

	LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
	Assert(slot->refs > 0);
	slot->refs--;
	if (slot->refs == 0 && slot->state == DP_KMS_SLOT_DONE)
	{
		if (slot->ok || slot->request.kind != DP_KMS_FETCH)
			slot->state = DP_KMS_SLOT_FREE;
		freed = true;
	}
	LWLockRelease(dp_kms_lock);
	if (freed)
		ConditionVariableSignal(&dp_kms_shared->slot_freed);
}

static void
release_slot_on_exit(int code, Datum arg)
{
	release_slot(&dp_kms_shared->slots[DatumGetInt32(arg)]);
}

/* Sleep until the slot is done; false where the deadline came first. */
static bool
wait_for_slot(DpKmsSlot *slot, int64 deadline)
{
	bool		done;

	ConditionVariablePrepareToSleep(&slot->done);
	for (;;)
	{
		int64		remaining = deadline - dp_kms_now();

		LWLockAcquire(dp_kms_lock, LW_SHARED);
		done = slot->state == DP_KMS_SLOT_DONE;
		LWLockRelease(dp_kms_lock);
		if (done || remaining <= 0)
			break;
		ConditionVariableTimedSleep(&slot->done, remaining, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return done;
}

/* Take the result of a slot that is done. */
static bool
read_result(const DpKmsSlot *slot, DpKmsRequest *request, DpKmsError *out_error)
{
	bool		ok;

	LWLockAcquire(dp_kms_lock, LW_SHARED);
	ok = slot->ok;
	if (ok)
		dp_kms_request_answer(request, &slot->request);
	else
		*out_error = slot->error;
	LWLockRelease(dp_kms_lock);
	return ok;
}

/* Have the agent carry out a request and wait for its result. */
static bool
perform(DpKmsRequest *request, DpKmsError *out_error)
{
	volatile bool ok = false;
	bool		decided_ok = false;
	const int	number = enter(request, &decided_ok, out_error);

	if (number == NO_SLOT)
		return decided_ok;

	PG_ENSURE_ERROR_CLEANUP(release_slot_on_exit, Int32GetDatum(number));
	{
		DpKmsSlot  *slot = &dp_kms_shared->slots[number];

		if (wait_for_slot(slot, request->deadline + GRACE_MS))
			ok = read_result(slot, request, out_error);
		else
			set_error(out_error, ERRCODE_CONNECTION_FAILURE, request->uris[0],
					  "The key agent did not answer in time.");
	}
	PG_END_ENSURE_ERROR_CLEANUP(release_slot_on_exit, Int32GetDatum(number));

	release_slot(&dp_kms_shared->slots[number]);
	return ok;
}

bool
dp_kms_create(Oid database, const DpKmsContext *context,
			  const char *const *uris, int n_uris,
			  uint64 *out_key_id, DpKmsBlob *out_blobs, DpKmsError *out_error)
{
	DpKmsRequest request;

	fill_request(&request, DP_KMS_CREATE, database, context, uris, NULL, n_uris);
	if (!perform(&request, out_error))
		return false;
	*out_key_id = request.context.key_id;
	memcpy(out_blobs, request.blobs, n_uris * sizeof(DpKmsBlob));
	return true;
}

bool
dp_kms_fetch(Oid database, const DpKmsContext *context,
			 const char *const *uris, const DpKmsBlob *blobs, int n_uris,
			 DpKmsError *out_error)
{
	DpKmsRequest request;

	fill_request(&request, DP_KMS_FETCH, database, context, uris, blobs, n_uris);
	return perform(&request, out_error);
}

bool
dp_kms_drill(Oid database, const DpKmsContext *context,
			 const char *uri, const DpKmsBlob *blob, DpKmsError *out_error)
{
	DpKmsRequest request;

	fill_request(&request, DP_KMS_DRILL, database, context, &uri, blob, 1);
	return perform(&request, out_error);
}

bool
dp_kms_rewrap(Oid database, const DpKmsContext *context, const char *uri, DpKmsBlob *blob, DpKmsError *out_error)
{
	DpKmsRequest request;

	fill_request(&request, DP_KMS_REWRAP, database, context, &uri, blob, 1);
	if (!perform(&request, out_error))
		return false;
	*blob = request.blobs[0];
	return true;
}

/* Of one root, about no key of a database. */
static void
fill_root_request(DpKmsRequest *request, DpKmsKind kind, const char *uri)
{
	static const DpKmsContext none = {{0}, 0, 0, DP_PURPOSE_EPOCH};

	fill_request(request, kind, InvalidOid, &none, &uri, NULL, 1);
}

bool
dp_kms_sign(const char *uri, const uint8 digest[DP_KMS_DIGEST_LEN],
			DpKmsSignature *out_signature, DpKmsError *out_error)
{
	DpKmsRequest request;

	fill_root_request(&request, DP_KMS_SIGN, uri);
	memcpy(request.digest, digest, DP_KMS_DIGEST_LEN);
	if (!perform(&request, out_error))
		return false;
	*out_signature = request.signature;
	return true;
}

/*
 * The public key alone: algorithm, version, public_key.  version: 0, or that of a
 * signature that was made under it.
 */
static bool
get_public_key(const char *uri, int version, DpKmsSignature *out_key, DpKmsError *out_error)
{
	DpKmsRequest request;

	fill_root_request(&request, DP_KMS_PUBLIC_KEY, uri);
	request.signature.version = version;
	if (!perform(&request, out_error))
		return false;
	*out_key = request.signature;
	return true;
}

bool
dp_kms_verify(const char *uri, const uint8 digest[DP_KMS_DIGEST_LEN],
			  const DpKmsSignature *signature, bool *out_good, DpKmsError *out_error)
{
	DpKmsSignature root;

	if (!get_public_key(uri, signature->version, &root, out_error))
		return false;
	*out_good = dp_signature_verify(root.public_key, root.public_key_len, digest, DP_KMS_DIGEST_LEN,
									signature->signature, signature->len);
	return true;
}

bool
dp_kms_root_state(const char *uri, DpKmsRoot *out_root, DpKmsError *out_error)
{
	DpKmsRequest request;

	fill_root_request(&request, DP_KMS_ROOT_STATE, uri);
	if (!perform(&request, out_error))
		return false;
	*out_root = request.root;
	return true;
}

bool
dp_kms_schedule_destroy(const char *uri, int days, DpKmsRoot *out_root, DpKmsError *out_error)
{
	DpKmsRequest request;

	fill_root_request(&request, DP_KMS_DESTROY, uri);
	request.days = days;
	if (!perform(&request, out_error))
		return false;
	*out_root = request.root;
	return true;
}

bool
dp_kms_make_root(const char *uri, DpKmsError *out_error)
{
	DpKmsRequest request;

	fill_root_request(&request, DP_KMS_MAKE, uri);
	return perform(&request, out_error);
}

void
dp_kms_refresh(Oid database, const DpKmsContext *context,
			   const char *const *uris, const DpKmsBlob *blobs, int n_uris)
{
	DpKmsRequest request;
	DpKmsSlot  *slot;
	bool		fresh;

	LWLockAcquire(dp_kms_lock, LW_SHARED);
	fresh = dp_kms_now() < dp_kms_fresh_get(database, context->key_id);
	LWLockRelease(dp_kms_lock);
	if (fresh)
		return;

	fill_request(&request, DP_KMS_FETCH, database, context, uris, blobs, n_uris);

	LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
	if (dp_kms_now() >= dp_kms_fresh_get(database, context->key_id) &&
		find_fetch(&request) == NULL && (slot = find_reusable()) != NULL)
	{
		queue_slot(slot, &request, 0);
		/* The agent sets the real time; until then nobody need ask again. */
		dp_kms_fresh_set(database, context->key_id, request.deadline + GRACE_MS);
	}
	LWLockRelease(dp_kms_lock);
}
