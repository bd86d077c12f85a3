/*
 * key_set.c
 *	  Fetching the key set of the issuer of tokens; see key_set.h.
 *
 * The URL is a setting of the server: nothing in a token (jku, x5u) leads anywhere,
 * and redirects are not followed.  Who sends tokens under keys that do not exist
 * has the issuer asked once in ASK_AGAIN_MS, whoever and however many they are.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "kms/key_set.h"
#include "kms/kms_shmem.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"

#define ASK_AGAIN_MS	3000
#define FIRST_PAUSE_MS	1000
#define LAST_PAUSE_MS	60000
#define USABLE_MS		(INT64CONST(24) * 60 * 60 * 1000)

typedef struct KeySetShared
{
	ConditionVariable asked;	/* an attempt has ended */
	uint64		attempts;		/* that have ended */
	int64		fetched_at;		/* dp_kms_now(); 0: never */
	int64		tried_at;		/* when the last attempt ended */
	bool		wanted;
	char		problem[160];	/* of the last attempt; "" where it went well */
	Size		len;
	char		text[DP_HTTP_REPLY_MAX + 1];
} KeySetShared;

static KeySetShared *shared = NULL;
static LWLock *lock = NULL;		/* of all of it */

/* the agent's */
static DpHttpTransfer *transfer = NULL;
static int	failures = 0;
static int64 next_at = 0;

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	shared = area;
	lock = &locks->lock;
	if (is_new)
		ConditionVariableInit(&shared->asked);
}

void
dp_key_set_init(void)
{
	dp_shmem_register("dataprotect key set", sizeof(KeySetShared), 1, attach);
}

/* https://HOST[:PORT]/PATH, or http:// to a loopback address. */
static bool
url_usable(bool *out_loopback)
{
	char		endpoint[DP_KMS_URI_MAX];
	const char *host = strstr(dp_guc_jwt_keys_url, "://");
	Size		len;

	if (host == NULL)
		return false;
	len = host + 3 - dp_guc_jwt_keys_url;
	len += strcspn(dp_guc_jwt_keys_url + len, "/");
	if (len >= sizeof(endpoint))
		return false;
	strlcpy(endpoint, dp_guc_jwt_keys_url, len + 1);
	return dp_kms_endpoint_valid(endpoint, out_loopback);
}

void
dp_key_set_check_settings(void)
{
	bool		loopback;

	if (dp_guc_jwt_keys_url[0] != '\0' && !url_usable(&loopback))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the URL of the keys of the issuer of tokens is not usable"),
				 errdetail("The setting dataprotect.jwt_keys_url must be https://HOST[:PORT]/PATH, or http:// with a loopback address.")));
}

/* An attempt has ended; text: NULL where it failed. */
static void
settle(const char *text, Size len, const char *problem)
{
	int64		now = dp_kms_now();

	if (text != NULL)
	{
		failures = 0;
		next_at = now + (int64) dp_guc_jwt_keys_refresh * 1000;
	}
	else
	{
		next_at = now + Min((int64) FIRST_PAUSE_MS << Min(failures, 10), LAST_PAUSE_MS);
		if (failures++ == 0)
			ereport(LOG,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("could not fetch the keys of the issuer of tokens"),
					 errdetail_internal("%s", problem)));
	}
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->attempts++;
	shared->wanted = false;
	shared->tried_at = now;
	strlcpy(shared->problem, text == NULL ? problem : "", sizeof(shared->problem));
	if (text != NULL)
	{
		memcpy(shared->text, text, len);
		shared->text[len] = '\0';
		shared->len = len;
		shared->fetched_at = now;
	}
	LWLockRelease(lock);
	ConditionVariableBroadcast(&shared->asked);
}

/* An error page of a proxy must not take the place of keys. */
static bool
looks_like_set(const char *text, Size len)
{
	const char *first = text + strspn(text, " \t\r\n");

	return strlen(text) == len && pg_verify_mbstr(PG_UTF8, text, len, true) && *first == '{' && strstr(first, "\"keys\"") != NULL;
}

static void
fetched(DpHttpTransfer *which, void *arg)
{
	char	   *reply;
	Size		len;
	const char *problem;
	long		status = dp_http_result(which, &reply, &len, &problem);
	char		detail[160];

	if (status == 200 && looks_like_set(reply, len))
		settle(reply, len, NULL);
	else
	{
		if (status == 0)
			snprintf(detail, sizeof(detail), "The issuer does not answer: %s.", problem);
		else if (status == 200)
			strlcpy(detail, "The issuer's answer is not a JSON Web Key Set.", sizeof(detail));
		else
			snprintf(detail, sizeof(detail), "The issuer returned HTTP status %ld.", status);
		settle(NULL, 0, detail);
	}
	dp_http_free(which);
	transfer = NULL;
}

static void
begin_fetch(void)
{
	static const char *const headers[] = {"Accept: application/json", NULL};
	DpHttpRequest request = {0};

	if (!url_usable(&request.loopback))
	{
		settle(NULL, 0, "The setting dataprotect.jwt_keys_url must be https://HOST[:PORT]/PATH, or http:// with a loopback address.");
		return;
	}
	request.method = "GET";
	request.url = dp_guc_jwt_keys_url;
	request.headers = headers;
	request.timeout_ms = dp_guc_kms_timeout;
	request.done = fetched;
	transfer = dp_http_start(&request);
	if (transfer == NULL)
		settle(NULL, 0, "The request could not be begun.");
}

int
dp_key_set_advance(void)
{
	int64		now = dp_kms_now();
	int64		due = next_at;

	if (dp_guc_jwt_keys_url[0] == '\0' || transfer != NULL)
		return -1;
	LWLockAcquire(lock, LW_SHARED);
	if (shared->wanted)
		due = Min(due, shared->tried_at == 0 ? now : shared->tried_at + FIRST_PAUSE_MS);
	LWLockRelease(lock);
	if (now >= due)
	{
		begin_fetch();
		due = next_at;
	}
	return transfer != NULL ? -1 : (int) Max(due - now, 0);
}

static void
wake_agent(void)
{
	LWLockAcquire(dp_kms_lock, LW_SHARED);
	if (dp_kms_shared->agent != NULL)
		SetLatch(dp_kms_shared->agent);
	LWLockRelease(dp_kms_lock);
}

/* Copy the set out; false where there is none that may still be used. */
static bool
copy_set(char *out)
{
	bool		usable;

	LWLockAcquire(lock, LW_SHARED);
	usable = shared->fetched_at != 0 && dp_kms_now() - shared->fetched_at < USABLE_MS;
	if (usable)
		memcpy(out, shared->text, shared->len + 1);
	LWLockRelease(lock);
	return usable;
}

/* Have the agent ask; false where it was a moment ago.  *out_seen: attempts before. */
static bool
ask(bool anew, uint64 *out_seen)
{
	bool		asked;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	*out_seen = shared->attempts;
	asked = !anew || shared->tried_at == 0 || dp_kms_now() - shared->tried_at >= ASK_AGAIN_MS;
	if (asked)
		shared->wanted = true;
	LWLockRelease(lock);
	if (asked)
		wake_agent();
	return asked;
}

static bool
has_ended(uint64 seen)
{
	bool		ended;

	LWLockAcquire(lock, LW_SHARED);
	ended = shared->attempts > seen;
	LWLockRelease(lock);
	return ended;
}

bool
dp_key_set_read(bool anew, char out[DP_HTTP_REPLY_MAX + 1], const char **out_problem)
{
	static char problem[160];
	int64		deadline = dp_kms_now() + dp_guc_kms_timeout;
	uint64		seen;

	if (!anew && copy_set(out))
		return true;
	if (ask(anew, &seen))
	{
		ConditionVariablePrepareToSleep(&shared->asked);
		while (!has_ended(seen))
		{
			int64		left = deadline - dp_kms_now();

			if (left <= 0)
				break;
			ConditionVariableTimedSleep(&shared->asked, left, PG_WAIT_EXTENSION);
		}
		ConditionVariableCancelSleep();
	}
	if (copy_set(out))
		return true;
	LWLockAcquire(lock, LW_SHARED);
	strlcpy(problem, shared->problem[0] != '\0' ? shared->problem : "The issuer did not answer in time.", sizeof(problem));
	LWLockRelease(lock);
	*out_problem = problem;
	return false;
}
