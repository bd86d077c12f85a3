/*
 * reply.h
 *	  Reading what AWS KMS and Vault answer.
 *
 * The reply is hostile input: it is read as strict JSON of at most
 * DP_KMS_REPLY_DEPTH levels by PostgreSQL's own parser, with no need of a server
 * around it, so that it can be fuzzed.
 */
#ifndef DP_KMS_REPLY_H
#define DP_KMS_REPLY_H

#include "postgres.h"

#define DP_KMS_REPLY_DEPTH	16
#define DP_KMS_REPLY_LIST	16	/* values of one member, where its path goes through an array */

/*
 * One member that is wanted, by the names on the way to it:
 *		"data.ciphertext"	"KeyMetadata.Replicas.[].Region"
 * "[]" stands for every element of an array.  Values are strings, unescaped, or
 * numbers and booleans as they stand; NUL-terminated, in the reply's buffer.
 */
typedef struct DpKmsMember
{
	const char *path;
	char	   *value;			/* the first one; NULL: absent or null */
	int			n;				/* how many */
	char	   *list[DP_KMS_REPLY_LIST];

	int			matched;		/* names of the path on the way to here; the reader's own */
} DpKmsMember;

/*
 * False where buf[0..len) is not one JSON object, or a member wanted is there twice
 * (in an array: more than DP_KMS_REPLY_LIST times), or as an object or array.
 * buf[len] must be writable and the buffer is changed in place; the caller wipes it,
 * whatever the result.
 */
extern bool dp_kms_reply_parse(char *buf, size_t len, DpKmsMember *members, int n_members);

/* "com.amazonaws.kms#DisabledException:http://..." is DisabledException; in place. */
extern char *dp_kms_reply_bare_type(char *type);

#endif							/* DP_KMS_REPLY_H */
