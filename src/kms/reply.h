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

#define DP_KMS_REPLY_DEPTH 16

/* String members of the outermost object, or of its member "data"; NULL where absent.  They point into
 * the buffer, unescaped and NUL-terminated. */
typedef struct DpKmsReply
{
	char	   *ciphertext;		/* CiphertextBlob, base64 */
	char	   *plaintext;		/* Plaintext, base64: secret */
	char	   *error_type;		/* __type, without namespace */

	/* Vault's stand in the object "data" */
	char	   *data_ciphertext;
	char	   *data_plaintext; /* base64: secret */
} DpKmsReply;

/*
 * False where buf[0..len) is not one JSON object, or has one of these members
 * twice or as another type.  buf[len] must be writable and the buffer is changed
 * in place; the caller wipes it, whatever the result.
 */
extern bool dp_kms_reply_parse(char *buf, size_t len, DpKmsReply *out);

#endif							/* DP_KMS_REPLY_H */
