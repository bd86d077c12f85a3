/*
 * http.c
 *	  Transfers by libcurl's multi interface, woven into the agent's latch.
 *
 * libcurl resolves names in threads of its own.  They must not run PostgreSQL's
 * signal handlers, so all signals are blocked while libcurl runs: its threads
 * inherit that.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <pthread.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/select.h>

#include "base/compat.h"
#include "base/guc.h"
#include "base/secret.h"
#include "kms/http.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"

struct DpHttpTransfer
{
	CURL	   *easy;
	struct curl_slist *headers;
	char	   *reply;			/* DP_HTTP_REPLY_MAX + 1 bytes */
	Size		reply_len;
	bool		reply_too_long;
	bool		in_multi;
	bool		connect_only;
	long		status;			/* 0: no complete reply */

	/* an exchange without HTTP */
	int64		(*reply_size) (const uint8 *reply, Size len);
	const char *body;
	Size		body_len;
	Size		sent;
	bool		exchanging;		/* in exchanges */
	DpHttpTransfer *next;

	const char *problem;
	void		(*done) (DpHttpTransfer *transfer, void *arg);
	void	   *arg;
};

static CURLM *multi = NULL;
static fd_set watched;			/* of others: see dp_http_watch() */
static int	max_watched = -1;
static DpHttpTransfer *exchanges = NULL;	/* connected, and not over */

static size_t
receive(char *data, size_t size, size_t count, void *arg)
{
	DpHttpTransfer *transfer = arg;
	size_t		len = size * count;

	if (len > DP_HTTP_REPLY_MAX - transfer->reply_len)
	{
		transfer->reply_too_long = true;
		return 0;
	}
	memcpy(transfer->reply + transfer->reply_len, data, len);
	transfer->reply_len += len;
	return len;
}

static void
block_signals(sigset_t *out_before)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, out_before);
}

static void
restore_signals(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

static bool
start_curl(void)
{
	if (multi != NULL)
		return true;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return false;
	multi = curl_multi_init();
	return multi != NULL;
}

/* What makes a connection trustworthy, and bounded. */
static bool
set_limits(CURL *easy, const DpHttpRequest *request)
{
	const char *protocols = request->loopback && !request->connect_only && request->reply_size == NULL ? "https,http" : "https";
	const char *ca_file = request->ca_file != NULL ? request->ca_file : dp_guc_kms_ca_file;

	/* A session that is taken up again is that of the certificate which was shown then. */
	return curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, request->client_cert == NULL ? 1L : 0L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, protocols) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
		(ca_file == NULL || ca_file[0] == '\0' ||
		 curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file) == CURLE_OK) &&
		(!request->loopback || curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK) &&
		(request->client_cert == NULL ||
		 (curl_easy_setopt(easy, CURLOPT_SSLCERT, request->client_cert) == CURLE_OK &&
		  curl_easy_setopt(easy, CURLOPT_SSLKEY, request->client_cert) == CURLE_OK)) &&
		curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1) == CURLE_OK;
}

/* What is sent, and how it is called. */
static bool
set_method(CURL *easy, const DpHttpRequest *request)
{
	if (request->method != NULL && request->body_len == 0)
		return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK &&
			curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK;
	return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long) request->body_len) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body) == CURLE_OK &&
		(request->method == NULL ||
		 curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK);
}

/* A connection without a request. */
static bool
set_connection(CURL *easy, DpHttpTransfer *transfer, const DpHttpRequest *request)
{
	transfer->connect_only = true;
	transfer->reply_size = request->reply_size;
	transfer->body = request->body;
	transfer->body_len = request->body_len;
	return curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_SSL_ENABLE_ALPN, 0L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK;
}

static bool
set_message(CURL *easy, DpHttpTransfer *transfer, const DpHttpRequest *request)
{
	for (const char *const *header = request->headers; *header != NULL; header++)
	{
		struct curl_slist *longer = curl_slist_append(transfer->headers, *header);

		if (longer == NULL)
			return false;
		transfer->headers = longer;
	}

	return curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK &&
		set_method(easy, request) &&
		curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, request->sigv4) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_USERNAME, request->access_key) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_PASSWORD, request->secret_key) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK;
}

DpHttpTransfer *
dp_http_start(const DpHttpRequest *request)
{
	DpHttpTransfer *transfer;
	sigset_t	before;

	if (!start_curl())
		return NULL;
	transfer = calloc(1, sizeof(*transfer));
	if (transfer == NULL)
		return NULL;
	transfer->done = request->done;
	transfer->arg = request->arg;
	transfer->reply = malloc(DP_HTTP_REPLY_MAX + 1);
	transfer->easy = curl_easy_init();

	if (transfer->reply != NULL && transfer->easy != NULL &&
		set_limits(transfer->easy, request) &&
		(request->connect_only || request->reply_size != NULL ? set_connection(transfer->easy, transfer, request) :
		 set_message(transfer->easy, transfer, request)))
	{
		block_signals(&before);
		transfer->in_multi = curl_multi_add_handle(multi, transfer->easy) == CURLM_OK;
		restore_signals(&before);
	}
	if (!transfer->in_multi)
	{
		dp_http_free(transfer);
		return NULL;
	}
	return transfer;
}

long
dp_http_result(DpHttpTransfer *transfer, char **out_reply, Size *out_reply_len,
			   const char **out_problem)
{
	transfer->reply[transfer->reply_len] = '\0';
	*out_reply = transfer->reply;
	*out_reply_len = transfer->reply_len;
	*out_problem = transfer->problem;
	return transfer->status;
}

ssize_t
dp_http_send(DpHttpTransfer *transfer, const char *data, Size len)
{
	sigset_t	before;
	size_t		sent = 0;
	CURLcode	code;

	block_signals(&before);
	code = curl_easy_send(transfer->easy, data, len, &sent);
	restore_signals(&before);
	if (code == CURLE_AGAIN)
		return 0;
	return code == CURLE_OK ? (ssize_t) sent : -1;
}

int
dp_http_unconfirmed(DpHttpTransfer *transfer)
{
	curl_socket_t socket;
	sigset_t	before;
	char		said[256];
	size_t		n = 1;
	int			unsent;
	CURLcode	code;

	block_signals(&before);
	code = curl_easy_recv(transfer->easy, said, sizeof(said), &n);
	restore_signals(&before);
	/* A peer that has closed its side, or sent an alert, takes nothing in. */
	if (code != CURLE_AGAIN && (code != CURLE_OK || n == 0))
		return -1;
	if (curl_easy_getinfo(transfer->easy, CURLINFO_ACTIVESOCKET, &socket) != CURLE_OK ||
		socket == CURL_SOCKET_BAD || ioctl(socket, SIOCOUTQ, &unsent) != 0)
		return -1;
	return unsent;
}

/* ---- exchanges ---- */

static void
end_exchange(DpHttpTransfer *transfer)
{
	DpHttpTransfer **place;

	if (!transfer->exchanging)
		return;
	for (place = &exchanges; *place != transfer; place = &(*place)->next)
		;
	*place = transfer->next;
	transfer->exchanging = false;
}

static void
send_body(DpHttpTransfer *transfer)
{
	while (transfer->problem == NULL && transfer->sent < transfer->body_len)
	{
		ssize_t		n = dp_http_send(transfer, transfer->body + transfer->sent, transfer->body_len - transfer->sent);

		if (n == 0)
			return;
		if (n < 0)
			transfer->problem = "the connection was lost";
		else
			transfer->sent += n;
	}
}

/* What has come: to the end of the reply, and not behind it. */
static void
receive_reply(DpHttpTransfer *transfer)
{
	while (transfer->problem == NULL && transfer->status == 0)
	{
		int64		size = transfer->reply_size((const uint8 *) transfer->reply, transfer->reply_len);
		Size		wanted = DP_HTTP_REPLY_MAX - transfer->reply_len;
		size_t		n = 0;
		sigset_t	before;
		CURLcode	code;

		if (size == 0)
			transfer->problem = "what comes back is no reply of this protocol";
		else if (size > DP_HTTP_REPLY_MAX)
			transfer->problem = "reply is longer than 64 kB";
		else if (size > 0 && (Size) size < transfer->reply_len)
			transfer->problem = "something follows the reply";
		else if (size > 0 && (Size) size == transfer->reply_len)
			transfer->status = 1;
		if (transfer->problem != NULL || transfer->status != 0)
			return;
		block_signals(&before);
		code = curl_easy_recv(transfer->easy, transfer->reply + transfer->reply_len, wanted, &n);
		restore_signals(&before);
		if (code == CURLE_AGAIN)
			return;
		if (code != CURLE_OK || n == 0)
			transfer->problem = "the connection was closed before there was a reply";
		transfer->reply_len += n;
	}
}

/* As far as it goes without waiting; true where it is over. */
static bool
advance_exchange(DpHttpTransfer *transfer)
{
	send_body(transfer);
	if (transfer->sent == transfer->body_len)
		receive_reply(transfer);
	return transfer->problem != NULL || transfer->status != 0;
}

/* done may let go of any transfer, and begin others: look from the front again. */
static void
perform_exchanges(void)
{
	DpHttpTransfer *transfer = exchanges;

	while (transfer != NULL)
	{
		if (advance_exchange(transfer))
		{
			end_exchange(transfer);
			transfer->done(transfer, transfer->arg);
			transfer = exchanges;
		}
		else
			transfer = transfer->next;
	}
}

/* The sockets that they wait for. */
static void
add_exchanges(fd_set *readable, fd_set *writable, int *max_fd)
{
	for (DpHttpTransfer *transfer = exchanges; transfer != NULL; transfer = transfer->next)
	{
		curl_socket_t socket;

		if (curl_easy_getinfo(transfer->easy, CURLINFO_ACTIVESOCKET, &socket) != CURLE_OK ||
			socket == CURL_SOCKET_BAD || socket >= FD_SETSIZE)
			continue;			/* the caller's time limit ends it */
		FD_SET(socket, readable);
		if (transfer->sent < transfer->body_len)
			FD_SET(socket, writable);
		*max_fd = Max(*max_fd, (int) socket);
	}
}

void
dp_http_free(DpHttpTransfer *transfer)
{
	end_exchange(transfer);
	if (transfer->in_multi)
		curl_multi_remove_handle(multi, transfer->easy);
	if (transfer->easy != NULL)
		curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->headers);
	if (transfer->reply != NULL)
		dp_secret_wipe(transfer->reply, DP_HTTP_REPLY_MAX + 1);
	free(transfer->reply);
	free(transfer);
}

/* Take one finished transfer out of the multi handle and tell its owner. */
static void
finish(DpHttpTransfer *transfer, CURLcode code)
{
	if (transfer->reply_size != NULL && code == CURLE_OK)
	{
		transfer->exchanging = true;
		transfer->next = exchanges;
		exchanges = transfer;
		return;
	}
	if (transfer->connect_only && code == CURLE_OK)
	{
		/* taken out, the handle would lose its connection */
		transfer->status = 1;
		transfer->done(transfer, transfer->arg);
		return;
	}
	curl_multi_remove_handle(multi, transfer->easy);
	transfer->in_multi = false;
	if (transfer->reply_too_long)
		transfer->problem = "reply is longer than 64 kB";
	else if (code != CURLE_OK)
		transfer->problem = curl_easy_strerror(code);
	else if (curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &transfer->status) != CURLE_OK ||
			 transfer->status == 0)
	{
		transfer->status = 0;
		transfer->problem = "reply has no HTTP status";
	}
	transfer->done(transfer, transfer->arg);
}

void
dp_http_perform(void)
{
	sigset_t	before;
	CURLMsg    *message;
	int			running;
	int			queued;

	if (multi == NULL)
		return;
	block_signals(&before);
	(void) curl_multi_perform(multi, &running);
	restore_signals(&before);

	while ((message = curl_multi_info_read(multi, &queued)) != NULL)
	{
		DpHttpTransfer *transfer = NULL;
		CURLcode	code = message->data.result;

		/* The message dies with the handle's removal: read it before. */
		if (message->msg == CURLMSG_DONE &&
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer) == CURLE_OK &&
			transfer != NULL)
			finish(transfer, code);
	}
	perform_exchanges();
}

bool
dp_http_watch(int fd)
{
	if (fd >= FD_SETSIZE)
		return false;
	FD_SET(fd, &watched);
	max_watched = Max(max_watched, fd);
	return true;
}

void
dp_http_unwatch(int fd)
{
	if (fd < FD_SETSIZE)
		FD_CLR(fd, &watched);
}

static void
add_watched(fd_set *readable, int *max_fd)
{
	for (int fd = 0; fd <= max_watched; fd++)
	{
		if (FD_ISSET(fd, &watched))
		{
			FD_SET(fd, readable);
			*max_fd = Max(*max_fd, fd);
		}
	}
}

void
dp_http_wait(int timeout_ms)
{
	WaitEventSet *set;
	WaitEvent	event;
	fd_set		readable;
	fd_set		writable;
	fd_set		broken;
	int			max_fd = -1;
	long		curl_ms = -1;

	FD_ZERO(&readable);
	FD_ZERO(&writable);
	FD_ZERO(&broken);
	if (multi != NULL)
	{
		(void) curl_multi_fdset(multi, &readable, &writable, &broken, &max_fd);
		(void) curl_multi_timeout(multi, &curl_ms);
	}
	add_exchanges(&readable, &writable, &max_fd);
	add_watched(&readable, &max_fd);
	if (curl_ms >= 0 && (timeout_ms < 0 || curl_ms < timeout_ms))
		timeout_ms = (int) curl_ms;

	set = dp_create_wait_event_set(max_fd + 3);
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int fd = 0; fd <= max_fd; fd++)
	{
		uint32		events = (FD_ISSET(fd, &readable) ? WL_SOCKET_READABLE : 0) |
			(FD_ISSET(fd, &writable) ? WL_SOCKET_WRITEABLE : 0);

		if (events != 0)
			AddWaitEventToSet(set, events, fd, NULL, NULL);
	}
	(void) WaitEventSetWait(set, timeout_ms, &event, 1, PG_WAIT_EXTENSION);
	FreeWaitEventSet(set);
}
