/*
 * restored.h
 *	  Lists of erasures outside of the database, and whether it knows them all.
 *
 * Each database writes down what it erased in a file of its own in
 * dataprotect.erasure_directory, named UID-SYSTEM-DATABASE.erasures after the
 * identity towards its KMS, the server and the database's OID.  A copy of the
 * database, a restored backup or a clone, has the identity and writes elsewhere.
 *
 * Table dataprotect.erasure_list says how far the database knows which lists: it
 * goes into every backup, so one that was restored knows less of its list than
 * there is.  A database that says nothing of any list answers to all that bear
 * its identity.  What another wrote into a list of its own, later, is no
 * concern of the one that was copied.
 *
 * Whoever appends holds the file's lock (flock) until the transaction ends that
 * writes down how far the list is known; whoever compares holds it, too: no
 * reader sees one without the other.
 */
#ifndef DP_ACCESS_RESTORED_H
#define DP_ACCESS_RESTORED_H

#include "postgres.h"

#define DP_ERASURE_ENDS_LEN 32

/* How far a list is known: bytes, and SHA-256 of the last of them. */
typedef struct DpErasurePlace
{
	int64		length;
	uint8		ends[DP_ERASURE_ENDS_LEN];
} DpErasurePlace;

/* Is there a directory for lists? */
extern bool dp_erasure_wanted(void);

/* "UID-", which the names of all lists of this database's identity begin with; palloc'd. */
extern char *dp_erasure_prefix(void);

/* Is a file's name one of a list of that prefix? */
extern bool dp_erasure_is_list(const char *name, const char *prefix);

/* An error where name is no name of a list. */
extern void dp_erasure_path(const char *name, char path[MAXPGPATH]);

/*
 * Lock an open list, to append (exclusive) or to read.  False where somebody else
 * has it for longer than a few seconds.
 */
extern bool dp_erasure_lock(int fd, bool exclusive);

/* False where the file is shorter, or cannot be read. */
extern bool dp_erasure_find_end(int fd, int64 length, uint8 out[DP_ERASURE_ENDS_LEN]);

/*
 * NULL where this database knows every erasure that it answers to; else a
 * sentence that says what is in the way, palloc'd.  On doubt there is one.  On a
 * standby a list may be ahead by what was written within the last minute.
 */
extern char *dp_erasure_doubt(void);

#endif							/* DP_ACCESS_RESTORED_H */
