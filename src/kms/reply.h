/*
 * reply.h
 *	  Reading what AWS KMS answers, and base64.
 *
 * Free of PostgreSQL, so that it can be fuzzed.  The reply is hostile input: the
 * parser accepts strict JSON (RFC 8259) of at most DP_KMS_REPLY_DEPTH levels,
 * never reads outside the buffer, and never trusts a length found in it.
 */
#ifndef DP_KMS_REPLY_H
#define DP_KMS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_KMS_REPLY_DEPTH 16

/* String members of the outermost object; NULL where absent.  They point into
 * the buffer, unescaped and NUL-terminated. */
typedef struct DpKmsReply
{
	char	   *ciphertext;		/* CiphertextBlob, base64 */
	char	   *plaintext;		/* Plaintext, base64: secret */
	char	   *error_type;		/* __type, without namespace */
} DpKmsReply;

/*
 * False where buf[0..len) is not one JSON object, or has one of these members
 * twice or as another type.  buf[len] must be writable and the buffer is changed
 * in place; the caller wipes it.
 */
extern bool dp_kms_reply_parse(char *buf, size_t len, DpKmsReply *out);

/* Bytes that base64 text of in_len bytes takes, without terminator. */
static inline size_t
dp_base64_encoded_len(size_t in_len)
{
	return (in_len + 2) / 3 * 4;
}

/* out: dp_base64_encoded_len() + 1 bytes; NUL-terminated. */
extern void dp_base64_encode(const uint8_t *in, size_t in_len, char *out);

/*
 * Strict: canonical padding, no white space.  False where text is not base64 or
 * does not fit into out_size bytes; out then holds nothing secret.
 */
extern bool dp_base64_decode(const char *text, uint8_t *out, size_t out_size, size_t *out_len);

#endif							/* DP_KMS_REPLY_H */
