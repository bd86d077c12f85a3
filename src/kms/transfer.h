/*
 * transfer.h
 *	  A call that is answered over HTTP: what the providers of AWS, Vault and KMIP share.
 *
 * A transfer belongs to its call from dp_kms_transfer_new() until the call is over,
 * and is released with it: body, reply and the provider's own memory are wiped.  A
 * provider whose operation takes several requests starts the next one from settle.
 * Where credentials are being fetched a transfer is parked, and resumed when there
 * are some or there are none.
 */
#ifndef DP_KMS_TRANSFER_H
#define DP_KMS_TRANSFER_H

#include "kms/http.h"
#include "kms/provider.h"

/* Base64 of len bytes, and a NUL. */
#define DP_BASE64_ROOM(len) (((len) + 2) / 3 * 4 + 1)

#define DP_KMS_BODY_MAX 4096

typedef struct DpKmsTransfer DpKmsTransfer;

/* There is a reply: end the call, or start the next request. */
typedef void (*DpKmsSettle) (DpKmsTransfer *transfer, long status, char *reply, Size len);

/* Transfers that wait for the same thing; zeros: none. */
typedef struct DpKmsParking
{
	DpKmsTransfer *first;
} DpKmsParking;

struct DpKmsTransfer
{
	DpKmsCall  *call;
	DpHttpTransfer *http;
	DpKmsSettle settle;
	bool		repeated;		/* once more, after another login */
	bool		settling;		/* settle is running: it does not release */

	/* what is to be sent, so that it can be after having been parked */
	const char *words[3];		/* constants of the provider */
	char		region[DP_KMS_REGION_MAX];
	DpKmsSettle next_settle;
	DpKmsSettle after;			/* the provider's own */
	DpKmsParking *parked;
	void		(*resume) (DpKmsTransfer *transfer);
	DpKmsTransfer *next;

	const char *who;			/* begins sentences: "The KMS" */
	Size		own_size;
	char		body[DP_KMS_BODY_MAX];
	char		own[FLEXIBLE_ARRAY_MEMBER]; /* of the provider, zeros at first */
};

/* NULL, and the call has ended, where memory is out. */
extern DpKmsTransfer *dp_kms_transfer_new(DpKmsCall *call, const char *who, Size own_size);

/*
 * Send transfer->body, a text, by a request of which url, headers, method and signing
 * are set, or body with a size as well, which is then in the transfer all the same; next_settle is called with what comes back.  A failure ends the call, and with it the transfer.
 */
extern void dp_kms_transfer_start(DpKmsTransfer *transfer, DpHttpRequest *request);

/* The call has ended: let go of the transfer, now or when settle is over. */
extern void dp_kms_transfer_failed(DpKmsTransfer *transfer);

/* Wait; resume is called by dp_kms_transfer_resume(), unless the call is given up. */
extern void dp_kms_transfer_park(DpKmsTransfer *transfer, DpKmsParking *parking,
								 void (*resume) (DpKmsTransfer *transfer));
extern void dp_kms_transfer_resume(DpKmsParking *parking);

/* Let go of the transfer, whether the call has ended or is given up. */
extern void dp_kms_transfer_release(DpKmsTransfer *transfer);

/* A provider's cancel. */
extern void dp_kms_transfer_cancel(DpKmsCall *call);

/* Base64 with a NUL; out has DP_BASE64_ROOM(len) bytes. */
extern void dp_kms_encode(const uint8 *bytes, int len, char *out, int out_size);

/* How many bytes text holds; -1 where it is NULL, no base64, or more than fits. */
extern int	dp_kms_decode(const char *text, uint8 *out, int out_size);

#endif							/* DP_KMS_TRANSFER_H */
