/*
 * child_call.h
 *	  A provider's call in a process of its own: for what waits where it cannot be told
 *	  not to, a PKCS#11 module for instance.
 *
 * The agent forks for the call and goes on; one that hangs is killed when its time is
 * over, one that crashes has failed.  The child knows what the agent knew, serves this
 * call, and is gone: nothing that it loads or opens is there in the agent, and nothing
 * lasts from one call to the next but what run leaves in *kept, a few bytes.
 *
 * The child is as little dumpable as the agent, ends with it, and takes the server's
 * signals as any program does.  It runs nothing of PostgreSQL's that would reach
 * shared memory or a lock.
 */
#ifndef DP_KMS_CHILD_CALL_H
#define DP_KMS_CHILD_CALL_H

#include "kms/provider.h"

#define DP_CHILD_KEPT_MAX	256

typedef struct DpChildJob
{
	void		(*run) (DpKmsCall *call);	/* to the end, however long it takes */
	void		(*leave) (void);	/* after the answer has been sent */
	bool		(*alone) (void);	/* while it says so, one after another */
	void	   *kept;			/* the agent has what run made of it */
	Size		kept_len;
} DpChildJob;

/* Start; the call is pending then, or has ended where no process could be had. */
extern void dp_child_begin(DpKmsCall *call, const DpChildJob *job);

/* A provider's cancel. */
extern void dp_child_cancel(DpKmsCall *call);

/*
 * A process that ends with the agent and takes signals as any program does: 0 in it, its
 * number in the agent, or -1.
 */
extern pid_t dp_child_fork(void);

/* Take answers that have come, without waiting; dp_http_wait() wakes up for them. */
extern void dp_child_perform(void);

/* In how many milliseconds to do so at the latest; -1: no child is left. */
extern int	dp_child_timeout(void);

#endif							/* DP_KMS_CHILD_CALL_H */
