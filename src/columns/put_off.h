/*
 * put_off.h
 *	  Statements of a restore that come before the keys.
 *
 * pg_restore with several processes keeps no order between the keys' rows and what is
 * made over other tables: an index over protected values cannot be built, nor can
 * a foreign key be checked, while their keys are not there.  Such a statement of
 * an administrator's restore (a superuser, dataprotect.input = 'ciphertext', a database
 * without keys) is noted in dataprotect.put_off instead of being run, and so is what
 * names its result.  The transaction that brings the keys (restored_rows.c) runs what
 * was noted, in that order.
 */
#ifndef DP_COLUMNS_PUT_OFF_H
#define DP_COLUMNS_PUT_OFF_H

#include "postgres.h"

/*
 * Until the end of the transaction nobody notes anything, or brings the keys.  Before
 * any lock on a user's table: nothing is noted behind the back of who brings them.
 */
extern void dp_put_off_lock(void);

/* Is a text one statement, of a kind and with parts that are ever put off? */
extern bool dp_put_off_is_one(const char *text);

extern void dp_put_off_init(void);

#endif							/* DP_COLUMNS_PUT_OFF_H */
