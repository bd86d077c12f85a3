/*
 * sink_uri.h
 *	  Where a sink is, as a URI.
 *
 * Free of PostgreSQL, so that it can be fuzzed.  One spelling for one place: no
 * user, no percent-encoding, no "." or ".." in a path, no fragment, no query but
 * the region.  A URI holds no secret: tokens are in files.
 *
 *	splunk-hec://HOST[:PORT]		HTTP Event Collector, https
 *	https://HOST[:PORT][/PATH]		webhook
 *	s3://BUCKET[/PREFIX]?region=REGION
 *	syslog-tls://HOST[:PORT]		RFC 5424 over TLS (RFC 5425)
 *	file:///DIRECTORY
 *
 * splunk-hec+http:// and http:// are for loopback hosts alone.
 */
#ifndef DP_AUDIT_SINK_URI_H
#define DP_AUDIT_SINK_URI_H

#include <stdbool.h>
#include <stddef.h>

#define DP_SINK_URI_MAX		512 /* bytes with the terminator */

typedef enum DpSinkKind
{
	DP_SINK_SPLUNK,
	DP_SINK_WEBHOOK,
	DP_SINK_S3,
	DP_SINK_SYSLOG,
	DP_SINK_FILE
} DpSinkKind;

typedef struct DpSinkUri
{
	DpSinkKind	kind;
	bool		loopback;
	char		host[DP_SINK_URI_MAX];	/* HOST[:PORT]; s3: BUCKET; file: "" */
	char		path[DP_SINK_URI_MAX];	/* with its first "/"; "" for none */
	char		region[33];		/* s3 only */
} DpSinkUri;

/* out_problem: a full sentence; static, set unless it is well formed. */
extern bool dp_sink_uri_parse(const char *text, DpSinkUri *out, const char **out_problem);

extern const char *dp_sink_kind_name(DpSinkKind kind);

#endif							/* DP_AUDIT_SINK_URI_H */
