/*
 * sink_reply.h
 *	  What Splunk's HTTP Event Collector answers.
 *
 * Free of PostgreSQL, so that it can be fuzzed.  Never reads outside text, which
 * need not end with a NUL; allocates nothing.  Anything but what is looked for,
 * exactly, is no answer.
 */
#ifndef DP_AUDIT_SINK_REPLY_H
#define DP_AUDIT_SINK_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* {"text":"Success","code":0,"ackId":N}: true where code is 0; *out_ack -1: none. */
extern bool dp_hec_reply_taken(const char *text, size_t len, int64_t *out_ack);

/* {"acks":{"N":true}}: is N acknowledged? */
extern bool dp_hec_reply_acked(const char *text, size_t len, int64_t ack);

#endif							/* DP_AUDIT_SINK_REPLY_H */
