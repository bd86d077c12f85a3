/*
 * sink.h
 *	  Sending the audit log away; for audit/sink_* only.
 *
 * A sink is sent the rows of audit_record in the order of seq, a batch at a time:
 * the next begins when the target has taken the one before.  Then, and not
 * before, the cursor moves, in a transaction of its own; what was under way when
 * a process died is sent again.  So everything arrives, in order, at least once.
 *
 * sink_round.c	the worker's round: all sinks of a database beside each other
 * sink_state.c	tables: which sinks there are, how far each is
 * sink_batch.c	rows and digests into a batch
 * sink_rows.c	rows of retention policies, by the targets for files and S3
 * sink_http.c	webhook, S3 and what they share; sink_splunk.c, sink_syslog.c, sink_file.c
 *
 * A target raises no errors, waits for nothing, and ends a batch by dp_sink_done()
 * or dp_sink_fail().  No text that a target sends back is shown anywhere.
 */
#ifndef DP_AUDIT_SINK_H
#define DP_AUDIT_SINK_H

#include "postgres.h"

#include "audit/sink_line.h"
#include "audit/sink_uri.h"
#include "kms/http.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

typedef enum DpSinkStatus
{
	DP_SINK_IDLE,				/* nothing under way */
	DP_SINK_SENDING,
	DP_SINK_WAITING,			/* Splunk: taken, not acknowledged yet; survives the round */
	DP_SINK_TAKEN,				/* the cursor may move */
	DP_SINK_FAILED
} DpSinkStatus;

/* Lines, each with its newline; where each begins. */
typedef struct DpSinkBatch
{
	int64		from;			/* of records; 0: none */
	int64		to;				/* the cursor afterwards */
	int64		digest_to;		/* that of digests */
	int			n_lines;
	StringInfoData text;
	int		   *start;			/* n_lines + 1 */
	TimestampTz *at;
	int		   *severity;
	const char *mark;			/* makes its object's name no other's; NULL: from and to do */
} DpSinkBatch;

typedef struct DpSink
{
	char	   *name;
	DpSinkUri	uri;
	const char *database;		/* its name, for the receiver */
	const char *database_uid;

	/* options; NULL where not given */
	char	   *token_file;
	char	   *secret_file;
	char	   *client_cert;	/* file with certificate and key that the target is shown */
	char	   *index;
	char	   *source_type;
	char	   *kms_key;
	bool		cef;
	bool		alerts_only;
	bool		acknowledged;	/* Splunk: waits for the indexer */
	int			ack_timeout_ms; /* then it is sent again */
	int			batch_size;
	int			rotate_kb;
	int			timeout_ms;

	/* state, as stored */
	int64		cursor;
	int64		digest;
	int			failures;		/* in a row */
	TimestampTz retry_at;
	char	   *channel;		/* Splunk: a UUID */
	int64		ack_id;			/* of what is WAITING */
	int64		ack_to;
	int64		ack_digest;
	TimestampTz ack_since;

	/* under way */
	DpSinkStatus status;
	MemoryContext context;		/* of the batch; reset when it ends */
	DpSinkBatch *batch;
	DpHttpTransfer *http;
	char	   *body;			/* lives as long as http */
	TimestampTz began_at;
	TimestampTz next_poll;
	int			sent;			/* syslog: bytes */
	bool		confirmed;		/* syslog: once */
	bool		finished;		/* this round: nothing more to send */
	char		problem[256];	/* a full sentence, no secret */
} DpSink;

typedef struct DpSinkTarget
{
	void		(*start) (DpSink *sink);	/* sink->batch */
	void		(*poll) (DpSink *sink); /* now and then; NULL: nothing to do */
} DpSinkTarget;

extern const DpSinkTarget dp_sink_webhook;
extern const DpSinkTarget dp_sink_s3;
extern const DpSinkTarget dp_sink_splunk;
extern const DpSinkTarget dp_sink_syslog;
extern const DpSinkTarget dp_sink_file;

/* sink_http.c */
extern void dp_sink_done(DpSink *sink);
extern void dp_sink_fail(DpSink *sink, const char *format,...) pg_attribute_printf(2, 3);
extern void dp_sink_stop(DpSink *sink); /* gives up the transfer */

/* Text, gzip'd, in the sink's context; *out_len: its length. */
extern char *dp_sink_gzip(const char *text, Size len, Size *out_len);

/* A secret of the sink's secret directory: its first line; false after dp_sink_fail(). */
#define DP_SINK_SECRET_MAX 512
extern bool dp_sink_secret(DpSink *sink, const char *file, char out[DP_SINK_SECRET_MAX]);

/* "http://" or "https://", host and port, path. */
extern char *dp_sink_url(const DpSink *sink, const char *path);

/* Sends; the sink fails where that cannot even begin.  request->body is in the sink's context. */
extern void dp_sink_request(DpSink *sink, DpHttpRequest *request);

/* After a transfer: true for 2xx; otherwise the sink has failed.  Ends the transfer unless true. */
extern bool dp_sink_reply(DpSink *sink, char **out_text, Size *out_len);

/* sink_batch.c; in a transaction with SPI.  NULL where nothing waits. */
extern DpSinkBatch *dp_sink_batch(DpSink *sink);
extern int64 dp_sink_read_rows(int64 after, int limit, bool (*take) (const DpSinkRow *row, void *arg), void *arg);

/* sink_state.c; each in a transaction of its own */
extern List *dp_sink_list(MemoryContext context);	/* of DpSink */
extern void dp_sink_save(DpSink *sink);

/* sink_round.c */
extern void dp_sink_init(void);

#endif							/* DP_AUDIT_SINK_H */
