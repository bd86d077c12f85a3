/*
 * sink_http.c
 *	  Webhooks and S3, and what sinks over HTTP share.
 *
 * Webhook: POST of JSON lines.  X-Dataprotect-Signature is t=SECONDS,v1=HEX, the
 * HMAC-SHA-256 under the secret of "SECONDS.BODY".
 *
 * S3: an object for each batch, gzip'd JSON lines, named by date, database and
 * sequence: what is sent twice takes the same place.
 */
#include "postgres.h"

#include <zlib.h>

#include "audit/sink.h"
#include "base/guc.h"
#include "base/report.h"
#include "base/secret.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "crypto/aead.h"
#include "kms/aws_credentials.h"
#include "kms/secret_file.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

void
dp_sink_stop(DpSink *sink)
{
	if (sink->http != NULL)
		dp_http_free(sink->http);
	sink->http = NULL;
}

void
dp_sink_done(DpSink *sink)
{
	dp_sink_stop(sink);
	sink->status = DP_SINK_TAKEN;
}

void
dp_sink_fail(DpSink *sink, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(sink->problem, sizeof(sink->problem), format, args);
	va_end(args);
	dp_sink_stop(sink);
	sink->status = DP_SINK_FAILED;
}

char *
dp_sink_gzip(const char *text, Size len, Size *out_len)
{
	z_stream	stream = {0};
	uLong		room;
	char	   *out;

	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		dp_report_no_memory("could not begin to compress a batch of the audit log");
	room = deflateBound(&stream, len);
	out = palloc(room);
	stream.next_in = (Bytef *) text;
	stream.avail_in = len;
	stream.next_out = (Bytef *) out;
	stream.avail_out = room;
	if (deflate(&stream, Z_FINISH) != Z_STREAM_END)
	{
		(void) deflateEnd(&stream);
		dp_report_no_memory("could not compress a batch of the audit log");
	}
	*out_len = stream.total_out;
	(void) deflateEnd(&stream);
	return out;
}

#define PEM_MAX (64 * 1024)

/* A file of the secret directory; false after dp_sink_fail(). */
static bool
read_secret_file(DpSink *sink, const char *file, const char *what, char path[MAXPGPATH],
				 uint8 *out, int max, int *out_len)
{
	DpKmsCall	call;

	if (dp_guc_sink_secret_directory == NULL || dp_guc_sink_secret_directory[0] == '\0')
	{
		dp_sink_fail(sink, "Setting dataprotect.sink_secret_directory names no directory.");
		return false;
	}
	memset(&call, 0, sizeof(call));
	snprintf(path, MAXPGPATH, "%s/%s", dp_guc_sink_secret_directory, file);
	*out_len = dp_secret_file_read(&call, path, what, out, 8, max);
	if (*out_len < 0)
		dp_sink_fail(sink, "%s", call.detail);
	return *out_len >= 0;
}

/* It holds a private key; libcurl reads it, and has no eye for who else can. */
static bool
check_certificate(DpSink *sink, char path[MAXPGPATH])
{
	uint8	   *pem = palloc(PEM_MAX);
	int			len;
	bool		ok = read_secret_file(sink, sink->client_cert, "file of the client certificate", path, pem, PEM_MAX, &len);

	dp_secret_wipe(pem, PEM_MAX);
	pfree(pem);
	return ok;
}

bool
dp_sink_secret(DpSink *sink, const char *file, char out[DP_SINK_SECRET_MAX])
{
	char		path[MAXPGPATH];
	int			len;

	if (!read_secret_file(sink, file, "secret file", path, (uint8 *) out, DP_SINK_SECRET_MAX - 1, &len))
		return false;
	out[len] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
	for (char *c = out; *c != '\0'; c++)
	{
		if (*c <= ' ' || *c > '~')
		{
			dp_secret_wipe(out, DP_SINK_SECRET_MAX);
			dp_sink_fail(sink, "The secret file has something else than one line of printable ASCII.");
			return false;
		}
	}
	return true;
}

char *
dp_sink_url(const DpSink *sink, const char *path)
{
	return psprintf("%s://%s%s", sink->uri.loopback ? "http" : "https", sink->uri.host, path);
}

void
dp_sink_request(DpSink *sink, DpHttpRequest *request)
{
	char		certificate[MAXPGPATH];

	if (sink->client_cert != NULL)
	{
		if (!check_certificate(sink, certificate))
			return;
		request->client_cert = certificate;
	}
	request->timeout_ms = sink->timeout_ms;
	request->ca_file = dp_guc_sink_ca_file != NULL ? dp_guc_sink_ca_file : "";
	request->arg = sink;
	sink->status = DP_SINK_SENDING;
	dp_sink_stop(sink);
	sink->http = dp_http_start(request);
	if (sink->http == NULL)
		dp_sink_fail(sink, "The HTTP client could not be started.");
}

bool
dp_sink_reply(DpSink *sink, char **out_text, Size *out_len)
{
	const char *problem;
	long		status = dp_http_result(sink->http, out_text, out_len, &problem);

	if (status >= 200 && status < 300)
		return true;
	if (status == 0)
		dp_sink_fail(sink, "The sink could not be reached: %s.", problem);
	else
		dp_sink_fail(sink, "The sink returned HTTP status %ld.", status);
	return false;
}

static void
on_taken(DpHttpTransfer *transfer, void *arg)
{
	DpSink	   *sink = arg;
	char	   *text;
	Size		len;

	if (dp_sink_reply(sink, &text, &len))
		dp_sink_done(sink);
}

/* HMAC-SHA-256 in hexadecimal. */
static bool
sign(const char *secret, const char *time, const char *body, Size len, char out[65])
{
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	uint8		mac[PG_SHA256_DIGEST_LENGTH];
	bool		ok;

	ok = context != NULL && pg_hmac_init(context, (const uint8 *) secret, strlen(secret)) == 0 &&
		pg_hmac_update(context, (const uint8 *) time, strlen(time)) == 0 &&
		pg_hmac_update(context, (const uint8 *) ".", 1) == 0 &&
		pg_hmac_update(context, (const uint8 *) body, len) == 0 &&
		pg_hmac_final(context, mac, sizeof(mac)) == 0;
	if (context != NULL)
		pg_hmac_free(context);
	if (ok)
		(void) hex_encode((const char *) mac, sizeof(mac), out);
	out[64] = '\0';
	return ok;
}

static void
start_webhook(DpSink *sink)
{
	DpHttpRequest request = {0};
	char		secret[DP_SINK_SECRET_MAX];
	char		time[24];
	char		signature[65];
	const char *headers[7] = {"Content-Type: application/x-ndjson", "Expect:"};
	bool		ok;

	headers[2] = psprintf("X-Dataprotect-Sequence: " INT64_FORMAT "-" INT64_FORMAT,
						  sink->batch->from, sink->batch->to);
	headers[3] = psprintf("X-Dataprotect-Database: %s", sink->database_uid);
	if (sink->secret_file != NULL)
	{
		if (!dp_sink_secret(sink, sink->secret_file, secret))
			return;
		snprintf(time, sizeof(time), INT64_FORMAT, (int64) timestamptz_to_time_t(GetCurrentTimestamp()));
		ok = sign(secret, time, sink->batch->text.data, sink->batch->text.len, signature);
		dp_secret_wipe(secret, sizeof(secret));
		if (!ok)
		{
			dp_sink_fail(sink, "The batch could not be signed.");
			return;
		}
		headers[4] = psprintf("X-Dataprotect-Signature: t=%s,v1=%s", time, signature);
	}
	request.url = dp_sink_url(sink, sink->uri.path[0] != '\0' ? sink->uri.path : "/");
	request.loopback = sink->uri.loopback;
	request.headers = headers;
	request.body = sink->batch->text.data;
	request.body_len = sink->batch->text.len;
	request.done = on_taken;
	dp_sink_request(sink, &request);
}

const DpSinkTarget dp_sink_webhook = {start_webhook, NULL};

/* PREFIX/2026/11/27/UID/00000000000000000001-00000000000000000900.jsonl.gz */
static char *
object_name(const DpSink *sink)
{
	char		time[DP_SINK_TIME_MAX];

	/* Of the first record: a batch that is sent again keeps its name. */
	dp_sink_time(sink->batch->at[0], time);
	if (sink->batch->from == 0)
		return psprintf("%s/%.4s/%.2s/%.2s/%s/digest-%020lld.jsonl.gz", sink->uri.path, time, time + 5, time + 8,
						sink->database_uid, (long long) sink->batch->digest_to);
	return psprintf("%s/%.4s/%.2s/%.2s/%s/%020lld-%020lld%s%s.jsonl.gz", sink->uri.path, time, time + 5, time + 8,
					sink->database_uid, (long long) sink->batch->from, (long long) sink->batch->to,
					sink->batch->mark != NULL ? "-" : "", sink->batch->mark != NULL ? sink->batch->mark : "");
}

/* False where they are being fetched (asked for again by poll_s3), or there are none. */
static bool
find_credentials(DpSink *sink, const DpAwsCredentials **out)
{
	static bool initialised = false;
	const char *problem;

	if (!initialised)
		dp_aws_credentials_init();
	initialised = true;
	switch (dp_aws_credentials_get(out, &problem))
	{
		case DP_AWS_READY:
			return true;
		case DP_AWS_FETCHING:
			sink->status = DP_SINK_SENDING;
			return false;
		case DP_AWS_UNREACHABLE:
		case DP_AWS_NONE:
			break;
	}
	dp_sink_fail(sink, "%s", problem);
	return false;
}

static void
on_stored(DpHttpTransfer *transfer, void *arg)
{
	DpSink	   *sink = arg;
	char	   *text;
	Size		len;
	const char *problem;
	long		status = dp_http_result(transfer, &text, &len, &problem);

	if (status == 401 || status == 403)
		dp_aws_credentials_refused();
	if (dp_sink_reply(sink, &text, &len))
		dp_sink_done(sink);
}

static void
start_s3(DpSink *sink)
{
	DpHttpRequest request = {0};
	const DpAwsCredentials *credentials;
	const char *endpoint = dp_guc_sink_s3_endpoint;
	uint8		digest[32];
	char		hash[65];
	const char *headers[7] = {"Content-Type: application/gzip", "Expect:",
	"x-amz-server-side-encryption: aws:kms"};
	char		token[sizeof(credentials->session_token) + 32];
	int			n = 3;

	if (!find_credentials(sink, &credentials))
		return;
	if (sink->kms_key != NULL)
		headers[n++] = psprintf("x-amz-server-side-encryption-aws-kms-key-id: %s", sink->kms_key);
	if (credentials->session_token[0] != '\0')
	{
		snprintf(token, sizeof(token), "X-Amz-Security-Token: %s", credentials->session_token);
		headers[n++] = token;
	}
	if (endpoint != NULL && endpoint[0] != '\0')
	{
		if (!dp_kms_endpoint_valid(endpoint, &request.loopback))
		{
			dp_sink_fail(sink, "Setting dataprotect.sink_s3_endpoint is no https endpoint.");
			return;
		}
		request.url = psprintf("%.*s/%s%s", (int) strcspn(endpoint + 8, "/") + 8, endpoint, sink->uri.host, object_name(sink));
	}
	else
		request.url = psprintf("https://%s.s3.%s.amazonaws.com%s%s", sink->uri.host, sink->uri.region,
							   strncmp(sink->uri.region, "cn-", 3) == 0 ? ".cn" : "", object_name(sink));
	request.method = "PUT";
	request.headers = headers;
	request.body = dp_sink_gzip(sink->batch->text.data, sink->batch->text.len, &request.body_len);
	/* S3 wants it; not every libcurl says it by itself. */
	if (!dp_sha256((const uint8 *) request.body, request.body_len, digest))
	{
		dp_sink_fail(sink, "The batch could not be signed.");
		return;
	}
	(void) hex_encode((const char *) digest, sizeof(digest), hash);
	hash[64] = '\0';
	headers[n++] = psprintf("x-amz-content-sha256: %s", hash);
	request.sigv4 = psprintf("aws:amz:%s:s3", sink->uri.region);
	request.access_key = credentials->access_key;
	request.secret_key = credentials->secret_key;
	request.done = on_stored;
	dp_sink_request(sink, &request);
	dp_secret_wipe(token, sizeof(token));
}

static void
poll_s3(DpSink *sink)
{
	if (sink->status != DP_SINK_SENDING || sink->http != NULL)
		return;
	if (TimestampDifferenceExceeds(sink->began_at, GetCurrentTimestamp(), sink->timeout_ms))
		dp_sink_fail(sink, "The credentials for AWS could not be had in time.");
	else
		start_s3(sink);
}

const DpSinkTarget dp_sink_s3 = {start_s3, poll_s3};
