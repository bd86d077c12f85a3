/*
 * http.h
 *	  Requests that run beside each other, in the key agent and in the worker
 *	  that sends the audit log away.
 *
 * https with verified certificates (TLS 1.2 or newer), or http to a loopback
 * address; no redirects, no proxy for loopback, replies of at most
 * DP_HTTP_REPLY_MAX bytes.  libcurl signs with AWS Signature Version 4.
 *
 * The caller allocates nothing: dp_http_start() copies url, headers and
 * credentials, but the body stays the caller's and must live until the transfer
 * is over.  dp_http_free() wipes the reply.  libcurl's own buffers are not wiped.
 */
#ifndef DP_KMS_HTTP_H
#define DP_KMS_HTTP_H

#include "postgres.h"

#define DP_HTTP_REPLY_MAX (64 * 1024)

typedef struct DpHttpTransfer DpHttpTransfer;

typedef struct DpHttpRequest
{
	const char *method;			/* NULL: POST; with a body it is sent as well */
	const char *url;
	bool		loopback;		/* plain http is admissible, proxies are not */
	const char *const *headers; /* "Name: value", NULL-terminated */
	const char *body;
	Size		body_len;
	int			timeout_ms;
	const char *ca_file;		/* NULL: dataprotect.kms_ca_file; "": the system's */
	bool		connect_only;	/* just the TLS connection: dp_http_send() */

	/*
	 * No HTTP: over the TLS connection the body is sent, and a reply is read whose size its own
	 * first bytes tell; -1: not yet, 0: it is none.  The status is 1.
	 */
	int64		(*reply_size) (const uint8 *reply, Size len);

	const char *client_cert;	/* PEM file with certificate and key; NULL: none */

	/* Signature Version 4: "aws:amz:REGION:SERVICE" and the key pair. */
	const char *sigv4;
	const char *access_key;
	const char *secret_key;

	/* Called from dp_http_perform() when the transfer is over. */
	void		(*done) (DpHttpTransfer *transfer, void *arg);
	void	   *arg;
} DpHttpRequest;

/* NULL where libcurl cannot even begin. */
extern DpHttpTransfer *dp_http_start(const DpHttpRequest *request);

/*
 * After done: the HTTP status, or 0 where there was no complete reply;
 * *out_problem then says why.  The reply is NUL-terminated, may be changed in
 * place, and stays the transfer's.
 */
extern long dp_http_result(DpHttpTransfer *transfer, char **out_reply, Size *out_reply_len,
						   const char **out_problem);

/*
 * Over a connection that is there (connect_only; the result is then 1): how many
 * bytes were taken, 0: try again later, -1: it is lost.
 */
extern ssize_t dp_http_send(DpHttpTransfer *transfer, const char *data, Size len);

/* Bytes of it that the peer's host has not confirmed; -1: it is lost. */
extern int	dp_http_unconfirmed(DpHttpTransfer *transfer);

/* Cancels where it is not over; wipes the reply.  Also from within done. */
extern void dp_http_free(DpHttpTransfer *transfer);

/* Move transfers on without waiting, and call done for those that are over. */
extern void dp_http_perform(void);

/* Wait for that descriptor, too; false where there are too many. */
extern bool dp_http_watch(int fd);
extern void dp_http_unwatch(int fd);

/* Wait for a transfer's socket, the process latch, or the time; -1: no limit. */
extern void dp_http_wait(int timeout_ms);

#endif							/* DP_KMS_HTTP_H */
