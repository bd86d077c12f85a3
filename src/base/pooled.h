/*
 * pooled.h
 *	  Sessions that clients share (transaction pooling): what one client says with
 *	  dataprotect.purpose, input or output does not hold for the next.
 *
 * With dataprotect.pooled, SET of a setting of dataprotect for the session is an
 * error, and whatever set them otherwise (set_config) ends with the
 * transaction.  Values of the connection's start, the role and the database stay.
 */
#ifndef DP_BASE_POOLED_H
#define DP_BASE_POOLED_H

/* From _PG_init only. */
extern void dp_pooled_init(void);

#endif							/* DP_BASE_POOLED_H */
