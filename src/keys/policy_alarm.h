/*
 * policy_alarm.h
 *	  Telling that a sealed table was changed by somebody else.
 *
 * An event with its alert and a line in the server's log, at most one an hour for
 * each scope, over all backends, until it was found whole again.
 */
#ifndef DP_KEYS_POLICY_ALARM_H
#define DP_KEYS_POLICY_ALARM_H

#include "postgres.h"

#include "keys/policy_seal.h"

extern void dp_policy_alarm(DpSealedTable table, int64 scope);
extern void dp_policy_all_clear(DpSealedTable table, int64 scope);

/* Registers shared memory; from _PG_init only. */
extern void dp_policy_alarm_init(void);

#endif							/* DP_KEYS_POLICY_ALARM_H */
