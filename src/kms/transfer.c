/*
 * transfer.c
 *	  Calls over HTTP; see transfer.h.
 */
#include "postgres.h"

#include "base/secret.h"
#include "common/base64.h"
#include "kms/transfer.h"

DpKmsTransfer *
dp_kms_transfer_new(DpKmsCall *call, const char *who, Size own_size)
{
	DpKmsTransfer *transfer = calloc(1, offsetof(DpKmsTransfer, own) + own_size);

	if (transfer == NULL)
	{
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_OUT_OF_MEMORY,
						 "The key agent is out of memory.");
		return NULL;
	}
	transfer->call = call;
	transfer->who = who;
	transfer->own_size = own_size;
	call->transfer = transfer;
	return transfer;
}

/* Take it out of where it waits. */
static void
unpark(DpKmsTransfer *transfer)
{
	DpKmsTransfer **place;

	if (transfer->parked == NULL)
		return;
	for (place = &transfer->parked->first; *place != transfer; place = &(*place)->next)
		;
	*place = transfer->next;
	transfer->parked = NULL;
}

void
dp_kms_transfer_park(DpKmsTransfer *transfer, DpKmsParking *parking, void (*resume) (DpKmsTransfer *transfer))
{
	transfer->parked = parking;
	transfer->resume = resume;
	transfer->next = parking->first;
	parking->first = transfer;
}

void
dp_kms_transfer_resume(DpKmsParking *parking)
{
	/* One that parks again goes to another list, or waits for the next time. */
	DpKmsParking now = *parking;

	parking->first = NULL;
	for (DpKmsTransfer *transfer = now.first; transfer != NULL; transfer = transfer->next)
		transfer->parked = &now;
	while (now.first != NULL)
	{
		DpKmsTransfer *transfer = now.first;

		unpark(transfer);
		transfer->resume(transfer);
	}
}

void
dp_kms_transfer_release(DpKmsTransfer *transfer)
{
	unpark(transfer);
	transfer->call->transfer = NULL;
	if (transfer->http != NULL)
		dp_http_free(transfer->http);
	dp_secret_wipe(transfer, offsetof(DpKmsTransfer, own) + transfer->own_size);
	free(transfer);
}

static void
on_done(DpHttpTransfer *http, void *arg)
{
	DpKmsTransfer *transfer = arg;
	DpKmsCall  *call = transfer->call;
	const char *problem;
	char	   *text;
	Size		len;
	long		status = dp_http_result(http, &text, &len, &problem);

	/* settle may start the next one in its place. */
	transfer->http = NULL;
	transfer->settling = true;
	if (status == 0)
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 "%s could not be asked: %s.", transfer->who, problem);
	else
		transfer->settle(transfer, status, text, len);
	transfer->settling = false;
	dp_http_free(http);

	if (call->status == DP_KMS_PENDING && transfer->http == NULL && transfer->parked == NULL)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_PROTOCOL_VIOLATION,
						 "The reply does not hold what was asked for.");
	if (call->status != DP_KMS_PENDING)
		dp_kms_transfer_release(transfer);
}

void
dp_kms_transfer_failed(DpKmsTransfer *transfer)
{
	if (!transfer->settling)
		dp_kms_transfer_release(transfer);
}

void
dp_kms_transfer_start(DpKmsTransfer *transfer, DpHttpRequest *request)
{
	transfer->settle = transfer->next_settle;
	if (request->body == NULL)
	{
		request->body = transfer->body;
		request->body_len = strlen(transfer->body);
	}
	request->timeout_ms = transfer->call->timeout_ms;
	request->done = on_done;
	request->arg = transfer;
	transfer->http = dp_http_start(request);
	if (transfer->http != NULL)
		return;
	dp_kms_call_fail(transfer->call, DP_KMS_UNAVAILABLE, ERRCODE_OUT_OF_MEMORY,
					 "The HTTP client could not be started.");
	dp_kms_transfer_failed(transfer);
}

void
dp_kms_transfer_cancel(DpKmsCall *call)
{
	dp_kms_transfer_release((DpKmsTransfer *) call->transfer);
}

/* The casts: pointers to bytes are of another type from 18 on. */
void
dp_kms_encode(const uint8 *bytes, int len, char *out, int out_size)
{
	int			text_len = pg_b64_encode((const void *) bytes, len, out, out_size - 1);

	out[Max(text_len, 0)] = '\0';
}

int
dp_kms_decode(const char *text, uint8 *out, int out_size)
{
	if (text == NULL)
		return -1;
	return pg_b64_decode(text, (int) strlen(text), (void *) out, out_size);
}
