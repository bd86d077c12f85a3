/*
 * kms_shmem.h
 *	  The request slots between backends and the key agent.
 *
 *		FREE --backend--> QUEUED --agent--> RUNNING --agent--> DONE --> FREE
 *							 ^-----agent died-----'
 *
 * One LWLock guards every field here except the condition variables.  It is held
 * for copying only; the arena's lock may be taken under it (DpKmsPresent), never
 * the other way round.
 *
 * A slot belongs to whoever counts in refs (waiting backends) and, while it is
 * RUNNING, also to the agent.  A DONE slot without waiters is free for re-use; a
 * failed fetch stays in it for DP_KMS_NEGATIVE_MS and answers for the same
 * request, so that a herd does not hammer a KMS that is down.
 *
 * No secret is ever in a slot: keys go from the agent to the sink.
 *
 * Times are milliseconds of CLOCK_MONOTONIC, the same in every process.
 */
#ifndef DP_KMS_KMS_SHMEM_H
#define DP_KMS_KMS_SHMEM_H

#include "postgres.h"

#include <time.h>

#include "datatype/timestamp.h"
#include "kms/kms.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#define DP_KMS_SLOTS		64
#define DP_KMS_STATS		64
#define DP_KMS_LATENCIES	64	/* calls of a URI whose time is kept */
#define DP_KMS_FRESH		1024	/* power of two */
#define DP_KMS_NEGATIVE_MS	1000

typedef enum DpKmsSlotState
{
	DP_KMS_SLOT_FREE,
	DP_KMS_SLOT_QUEUED,
	DP_KMS_SLOT_RUNNING,
	DP_KMS_SLOT_DONE
} DpKmsSlotState;

typedef enum DpKmsKind
{
	DP_KMS_CREATE,				/* make a key, wrap it under every URI */
	DP_KMS_FETCH,				/* unwrap by the first URI that answers */
	DP_KMS_DRILL,				/* unwrap by the only URI, deliver nothing */
	DP_KMS_REWRAP,				/* wrap anew under the only URI, and show that it opens */
	DP_KMS_SIGN,				/* and all below: of the only URI, no key */
	DP_KMS_PUBLIC_KEY,
	DP_KMS_ROOT_STATE,
	DP_KMS_DESTROY,
	DP_KMS_MAKE
} DpKmsKind;

/* What is asked; the same in a slot and in the agent's job. */
typedef struct DpKmsRequest
{
	DpKmsKind	kind;
	Oid			database;
	DpKmsContext context;
	int			n_uris;
	char		uris[DP_KMS_MAX_URIS][DP_KMS_URI_MAX];
	DpKmsBlob	blobs[DP_KMS_MAX_URIS]; /* CREATE: out; REWRAP: in, out; otherwise in */
	uint8		digest[DP_KMS_DIGEST_LEN];	/* SIGN */
	DpKmsSignature signature;	/* SIGN, PUBLIC_KEY: out, but for the version wanted */
	DpKmsRoot	root;			/* ROOT_STATE, DESTROY: out */
	int			days;			/* DESTROY */
	int64		deadline;
} DpKmsRequest;

/* A kind of request that ends with a key in the agent's hands. */
static inline bool
dp_kms_yields_key(DpKmsKind kind)
{
	return kind == DP_KMS_CREATE || kind == DP_KMS_FETCH;
}

/* Copy what a request that went well has found. */
extern void dp_kms_request_answer(DpKmsRequest *to, const DpKmsRequest *from);

typedef struct DpKmsSlot
{
	DpKmsSlotState state;
	int			refs;
	DpKmsRequest request;
	bool		ok;				/* DONE */
	DpKmsError	error;			/* DONE and not ok */
	int64		done_at;
	ConditionVariable done;
} DpKmsSlot;

typedef enum DpKmsCircuit
{
	DP_KMS_CIRCUIT_CLOSED,
	DP_KMS_CIRCUIT_OPEN,		/* nothing is sent until open_until */
	DP_KMS_CIRCUIT_PROBING		/* one call is on its way to find out */
} DpKmsCircuit;

/* Statistics and health of one URI; written by the agent. */
typedef struct DpKmsStat
{
	char		uri[DP_KMS_URI_MAX];	/* "": unused */
	DpKmsScheme scheme;
	int64		calls;
	int64		failures;
	TimestampTz last_success;	/* 0: never */
	TimestampTz last_failure;	/* 0: never */
	DpKmsError	last_error;
	int			unavailable;	/* such failures in a row */
	DpKmsCircuit circuit;
	int64		open_until;
	TimestampTz credentials_expire; /* as of the last call; 0: never, or not known */
	int64		latency_us[DP_KMS_LATENCIES];	/* of the call n at n modulo that, from 0 */
} DpKmsStat;

/* How a call went. */
typedef struct DpKmsOutcome
{
	const DpKmsError *error;	/* NULL: well */
	bool		unavailable;	/* a failure that counts for the circuit */
	int64		latency_us;		/* credentials that it waited for included */
	int64		credentials_expire; /* seconds since 1970; 0: never, or not known */
} DpKmsOutcome;

/* Until when a key need not be fetched again. */
typedef struct DpKmsFresh
{
	Oid			database;
	uint64		key_id;			/* 0: unused */
	int64		until;
} DpKmsFresh;

typedef struct DpKmsShared
{
	Latch	   *agent;			/* NULL while no agent runs */
	ConditionVariable slot_freed;
	DpKmsSlot	slots[DP_KMS_SLOTS];
	DpKmsStat	stats[DP_KMS_STATS];
	DpKmsFresh	fresh[DP_KMS_FRESH];
} DpKmsShared;

extern DpKmsShared *dp_kms_shared;
extern LWLock *dp_kms_lock;

static inline int64
dp_kms_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The same clock in microseconds. */
static inline int64
dp_kms_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Shared memory; from dp_kms_init only. */
extern void dp_kms_shared_init(void);

/* Remember, or ask, until when a key counts as fresh.  Lock held: exclusive, shared. */
extern void dp_kms_fresh_set(Oid database, uint64 key_id, int64 until);
extern int64 dp_kms_fresh_get(Oid database, uint64 key_id);

/*
 * The circuit breaker, asked by the agent before each call.  ADMIT and PROBE
 * must be followed by exactly one dp_kms_stat_record().  REFUSE fills out_error
 * with what the last call met.
 */
typedef enum DpKmsAdmission
{
	DP_KMS_ADMIT,
	DP_KMS_WAIT,				/* a probe is under way: ask again soon */
	DP_KMS_REFUSE
} DpKmsAdmission;

extern DpKmsAdmission dp_kms_stat_admit(const DpKmsUri *uri, DpKmsError *out_error);

extern void dp_kms_stat_record(const DpKmsUri *uri, const DpKmsOutcome *outcome);

/* Whether calls to that URI are let through now; for the order of attempts. */
extern bool dp_kms_stat_healthy(const char *uri);

/* An agent begins: its predecessor's probes are not under way any more, its credentials gone. */
extern void dp_kms_stat_agent_begins(void);

#endif							/* DP_KMS_KMS_SHMEM_H */
