/*
 * job.h
 *	  One request while the agent works on it.
 *
 *		next URI --> admitted by its circuit --> call --> ok ----------> done
 *		   ^  ^               |                    |
 *		   |  |            refused            unavailable --> pause --> call again
 *		   |  '---------------'                    |
 *		   '------------- refused, or attempts used up
 *
 * What is asked of a URI may take several calls, one after another (job.c); a
 * pause and another attempt repeat the call at hand.
 *
 * A fetch ends with the first URI that opens the key, a create with the first
 * that fails or the last that wraps.  Each URI gets an equal share of the time
 * that is left, so that one that hangs leaves time for the next.
 *
 * Jobs live in the agent only; there is one for each slot.
 */
#ifndef DP_KMS_JOB_H
#define DP_KMS_JOB_H

#include "kms/kms_shmem.h"
#include "kms/provider.h"

typedef struct DpKmsJob
{
	bool		active;
	DpKmsRequest request;
	int			order[DP_KMS_MAX_URIS]; /* in which the URIs are tried */
	int			position;		/* in order */
	int			step;			/* which call of this URI's */
	int			attempt;		/* at this step */
	int64		share_until;	/* when to give this URI up */
	int64		wake_at;		/* pause until then */

	bool		calling;		/* call is under way or over, not yet settled */
	int64		called_at_us;	/* when call was begun */
	DpKmsUri	uri;
	DpKmsCall	call;

	bool		over;
	bool		ok;				/* over: the key is in key */
	bool		failed;			/* error is set: the first that was met */
	DpKmsError	error;
	uint8	   *key;			/* DP_KEY_LEN bytes of locked memory */
} DpKmsJob;

/* Begin on job->request.  Resets everything but request and key. */
extern void dp_kms_job_begin(DpKmsJob *job);

/* Go as far as possible without waiting.  Afterwards look at job->over. */
extern void dp_kms_job_advance(DpKmsJob *job);

/* When advance is to be called next if nothing else happens. */
extern int64 dp_kms_job_next(const DpKmsJob *job);

/* Wipe the key and let the job be used again. */
extern void dp_kms_job_end(DpKmsJob *job);

#endif							/* DP_KMS_JOB_H */
