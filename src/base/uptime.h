/*
 * uptime.h
 *	  The clock that nobody sets.
 */
#ifndef DP_BASE_UPTIME_H
#define DP_BASE_UPTIME_H

#include "postgres.h"

#define DP_BOOT_ID_LEN 36

/* Which start of the machine this is, valid for good; "" where that cannot be told. */
extern const char *dp_boot_id(void);

/* Microseconds since the machine started, sleep included where it is told. */
extern int64 dp_uptime_us(void);

#endif							/* DP_BASE_UPTIME_H */
