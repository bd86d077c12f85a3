/*
 * job.c
 *	  One request's way through its URIs; see job.h.
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/secret.h"
#include "common/pg_prng.h"
#include "kms/job.h"
#include "kms/uri_policy.h"

#define MAX_ATTEMPTS	3		/* at one URI */
#define PAUSE_MS		50		/* before the second attempt, doubled for each more */
#define PROBE_PAUSE_MS	20		/* between looks at another job's probe */

/* The calls that a kind of request is made of, at each URI. */
#define MAX_STEPS		3

static const struct
{
	int			n;
	DpKmsOperation operation[MAX_STEPS];
}			steps[] =

{
	[DP_KMS_CREATE] = {1, {DP_KMS_OP_WRAP}},
	[DP_KMS_FETCH] = {1, {DP_KMS_OP_UNWRAP}},
	[DP_KMS_DRILL] = {1, {DP_KMS_OP_UNWRAP}},
	[DP_KMS_REWRAP] = {3, {DP_KMS_OP_UNWRAP, DP_KMS_OP_WRAP, DP_KMS_OP_UNWRAP}},
	[DP_KMS_SIGN] = {2, {DP_KMS_OP_PUBLIC_KEY, DP_KMS_OP_SIGN}},
	[DP_KMS_PUBLIC_KEY] = {1, {DP_KMS_OP_PUBLIC_KEY}},
	[DP_KMS_ROOT_STATE] = {1, {DP_KMS_OP_STATE}},
	[DP_KMS_DESTROY] = {3, {DP_KMS_OP_STATE, DP_KMS_OP_DESTROY, DP_KMS_OP_STATE}},
	[DP_KMS_MAKE] = {1, {DP_KMS_OP_MAKE}}
};

static const char *
current_uri(const DpKmsJob *job)
{
	return job->request.uris[job->order[job->position]];
}

/* Keep the first error: it is that of the URI preferred. */
static void
note_error(DpKmsJob *job, int sqlstate, const char *detail)
{
	if (job->failed)
		return;
	job->failed = true;
	job->error.sqlstate = sqlstate;
	strlcpy(job->error.uri, current_uri(job), sizeof(job->error.uri));
	strlcpy(job->error.detail, detail, sizeof(job->error.detail));
}

/* Start the clock of the URI at position. */
static void
begin_uri(DpKmsJob *job)
{
	int64		now = dp_kms_now();
	int			left = job->request.n_uris - job->position;

	job->step = 0;
	job->attempt = 0;
	job->wake_at = now;
	job->share_until = now + (job->request.deadline - now) / left;
}

static void
finish(DpKmsJob *job, bool ok)
{
	job->over = true;
	job->ok = ok;
}

/* This URI cannot do it: a fetch tries the next, all else has failed. */
static void
give_up_uri(DpKmsJob *job)
{
	job->position++;
	if (job->request.kind == DP_KMS_CREATE || job->position == job->request.n_uris)
		finish(job, false);
	else
		begin_uri(job);
}

/* URIs whose circuit is closed first, otherwise in the order given. */
static void
order_uris(DpKmsJob *job)
{
	int			n = 0;

	for (int pass = 0; pass < 2; pass++)
	{
		for (int i = 0; i < job->request.n_uris; i++)
		{
			bool		healthy = dp_kms_stat_healthy(job->request.uris[i]);

			/* Only the agent changes health, so both passes see the same. */
			if (healthy == (pass == 0))
				job->order[n++] = i;
		}
	}
}

void
dp_kms_job_begin(DpKmsJob *job)
{
	job->active = true;
	job->position = 0;
	job->calling = false;
	job->over = false;
	job->ok = false;
	job->failed = false;
	memset(&job->call, 0, sizeof(job->call));
	order_uris(job);
	begin_uri(job);

	if (job->request.kind == DP_KMS_CREATE &&
		(!dp_random_key(job->key, DP_KEY_LEN) ||
		 !dp_key_id(job->key, job->request.context.purpose, &job->request.context.key_id)))
	{
		note_error(job, ERRCODE_INTERNAL_ERROR, "The cryptographic library could not make a key.");
		finish(job, false);
	}
}

/* What was unwrapped must be the key that was asked for. */
static void
check_key_id(DpKmsJob *job)
{
	uint64		key_id;

	if (!dp_key_id(job->key, job->request.context.purpose, &key_id) ||
		key_id != job->request.context.key_id)
		dp_kms_call_fail(&job->call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
						 "The KMS returned another key than was wrapped.");
}

/* What a KMS says is its public key must be one, and what it says is a signature must be by it. */
static void
check_signature(DpKmsJob *job)
{
	DpKmsSignature *signature = &job->request.signature;

	if (job->call.operation == DP_KMS_OP_PUBLIC_KEY)
	{
		signature->algorithm = dp_public_key_algorithm(signature->public_key, signature->public_key_len);
		if (signature->algorithm == DP_SIGNATURE_NONE)
			dp_kms_call_fail(&job->call, DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							 "The root is no key to sign with: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519.");
	}
	else if (!dp_signature_verify(signature->public_key, signature->public_key_len,
								  job->request.digest, DP_KMS_DIGEST_LEN, signature->signature, signature->len))
		dp_kms_call_fail(&job->call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
						 "The KMS returned a signature that is not by the root's public key.");
}

/* Judge what a call that went well has brought. */
static void
check_answer(DpKmsJob *job)
{
	if (job->call.status != DP_KMS_OK)
		return;
	switch (job->call.operation)
	{
		case DP_KMS_OP_UNWRAP:
			check_key_id(job);
			break;
		case DP_KMS_OP_PUBLIC_KEY:
		case DP_KMS_OP_SIGN:
			check_signature(job);
			break;
		case DP_KMS_OP_WRAP:
		case DP_KMS_OP_STATE:
		case DP_KMS_OP_DESTROY:
		case DP_KMS_OP_MAKE:
			break;
	}
}

/* Is another call to follow at this URI?  What is going, or gone, is not destroyed again. */
static bool
has_next_step(const DpKmsJob *job)
{
	if (job->request.kind == DP_KMS_DESTROY && job->call.operation == DP_KMS_OP_STATE &&
		(job->request.root.state == DP_KMS_ROOT_PENDING || job->request.root.state == DP_KMS_ROOT_DELETED))
		return false;
	return job->step + 1 < steps[job->request.kind].n;
}

/* Count the call at hand; error: NULL where it went well. */
static void
count_call(const DpKmsJob *job, const DpKmsError *error)
{
	const DpKmsProvider *provider = dp_kms_provider(job->uri.scheme);
	DpKmsOutcome outcome;

	outcome.error = error;
	outcome.unavailable = job->call.status == DP_KMS_UNAVAILABLE;
	outcome.latency_us = dp_kms_now_us() - job->called_at_us;
	outcome.credentials_expire = provider->credentials_expiry != NULL ? provider->credentials_expiry() : 0;
	dp_kms_stat_record(&job->uri, &outcome);
}

/* The call at hand is over: count it and decide what comes next. */
static void
settle_call(DpKmsJob *job)
{
	DpKmsCall  *call = &job->call;
	int			index = job->order[job->position];

	job->calling = false;
	check_answer(job);
	if (call->status == DP_KMS_OK && call->operation == DP_KMS_OP_WRAP)
		job->request.blobs[index] = call->blob;

	if (call->status == DP_KMS_OK && has_next_step(job))
	{
		count_call(job, NULL);
		job->step++;
		job->attempt = 0;
	}
	else if (call->status == DP_KMS_OK)
	{
		count_call(job, NULL);
		job->position++;
		if (job->request.kind != DP_KMS_CREATE || job->position == job->request.n_uris)
			finish(job, true);
		else
			begin_uri(job);
	}
	else
	{
		DpKmsError	error;

		error.sqlstate = call->sqlstate;
		strlcpy(error.uri, job->uri.text, sizeof(error.uri));
		strlcpy(error.detail, call->detail, sizeof(error.detail));
		count_call(job, &error);

		job->attempt++;
		if (call->status == DP_KMS_REFUSED || job->attempt >= MAX_ATTEMPTS ||
			dp_kms_now() >= job->share_until)
		{
			note_error(job, call->sqlstate, call->detail);
			give_up_uri(job);
		}
		else
		{
			int64		pause = PAUSE_MS << (job->attempt - 1);

			/* Half fixed, half random: clients of one KMS must not march in step. */
			job->wake_at = dp_kms_now() + pause / 2 +
				pg_prng_uint64_range(&pg_global_prng_state, 0, pause);
		}
	}
}

/*
 * A row of the catalog may have been written past our checks: judge the URI here
 * once more, where it counts.
 */
static bool
check_uri(DpKmsJob *job)
{
	const char *text = current_uri(job);
	const char *problem;

	if (dp_kms_uri_parse(text, &job->uri, &problem) != DP_KMS_URI_OK)
	{
		note_error(job, ERRCODE_INVALID_PARAMETER_VALUE, problem);
		return false;
	}
	if (!dp_kms_uri_permitted(text))
	{
		note_error(job, ERRCODE_INSUFFICIENT_PRIVILEGE,
				   "No pattern of dataprotect.kms_allowed matches the URI.");
		return false;
	}
	if (job->uri.scheme == DP_KMS_SCHEME_AWS && !dp_kms_endpoint_usable(&problem))
	{
		note_error(job, ERRCODE_CONFIG_FILE_ERROR, problem);
		return false;
	}
	return true;
}

static void
start_call(DpKmsJob *job)
{
	DpKmsCall  *call = &job->call;
	const DpKmsProvider *provider = dp_kms_provider(job->uri.scheme);

	memset(call, 0, sizeof(*call));
	call->operation = steps[job->request.kind].operation[job->step];
	call->uri = &job->uri;
	call->context = &job->request.context;
	call->timeout_ms = (int) (job->share_until - dp_kms_now());
	call->key = job->key;
	call->digest = job->request.digest;
	call->signature = &job->request.signature;
	call->root = &job->request.root;
	call->days = job->request.days;
	if (call->operation == DP_KMS_OP_UNWRAP)
		call->blob = job->request.blobs[job->order[job->position]];
	job->calling = true;
	job->called_at_us = dp_kms_now_us();
	provider->begin(call);
}

/* One step; true where another may follow at once. */
static bool
step(DpKmsJob *job)
{
	int64		now = dp_kms_now();
	DpKmsError	last_error;

	if (job->calling)
	{
		if (job->call.status == DP_KMS_PENDING)
		{
			if (now < job->share_until)
				return false;
			dp_kms_provider(job->uri.scheme)->cancel(&job->call);
			dp_kms_call_fail(&job->call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
							 "The KMS did not answer within the time limit.");
		}
		settle_call(job);
		return true;
	}

	if (now >= job->share_until)
	{
		note_error(job, ERRCODE_CONNECTION_FAILURE, "The KMS did not answer within the time limit.");
		give_up_uri(job);
		return true;
	}
	if (now < job->wake_at)
		return false;
	if (!check_uri(job))
	{
		give_up_uri(job);
		return true;
	}

	switch (dp_kms_stat_admit(&job->uri, &last_error))
	{
		case DP_KMS_WAIT:
			job->wake_at = now + PROBE_PAUSE_MS;
			return false;
		case DP_KMS_REFUSE:
			note_error(job, last_error.sqlstate, last_error.detail);
			give_up_uri(job);
			return true;
		case DP_KMS_ADMIT:
			start_call(job);
			return true;
	}
	return false;
}

void
dp_kms_job_advance(DpKmsJob *job)
{
	while (!job->over && step(job))
		;
}

int64
dp_kms_job_next(const DpKmsJob *job)
{
	return job->calling ? job->share_until : Min(job->wake_at, job->share_until);
}

void
dp_kms_job_end(DpKmsJob *job)
{
	dp_secret_wipe(job->key, DP_KEY_LEN);
	job->active = false;
}
