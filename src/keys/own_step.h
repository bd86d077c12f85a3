/*
 * own_step.h
 *	  A step of a worker that one of our SQL functions does.
 */
#ifndef DP_KEYS_OWN_STEP_H
#define DP_KEYS_OWN_STEP_H

/*
 * Run "SELECT dataprotect._name()" as own code, in a transaction of its own.
 * Its answer, false where it gives none.  problem: the error where our functions
 * are not as they should be.
 */
extern bool dp_own_step(const char *sql, const char *problem);

#endif							/* DP_KEYS_OWN_STEP_H */
