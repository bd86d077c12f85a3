/*
 * reencrypt_worker.h
 *	  What reencrypt() leaves to the worker.
 */
#ifndef DP_COLUMNS_REENCRYPT_WORKER_H
#define DP_COLUMNS_REENCRYPT_WORKER_H

#include "postgres.h"

extern void dp_reencrypt_worker_init(void);

#endif							/* DP_COLUMNS_REENCRYPT_WORKER_H */
