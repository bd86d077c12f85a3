/*
 * call.c
 *	  What every provider does with a call; see provider.h.
 */
#include "postgres.h"

#include "kms/provider.h"

static void
put_big_endian(uint8 *out, uint64 value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		out[i] = (uint8) (value >> (8 * (bytes - 1 - i)));
}

void
dp_kms_context_bytes(const DpKmsContext *context, uint8 out[DP_KMS_CONTEXT_LEN])
{
	memcpy(out, context->database_uid, 16);
	put_big_endian(out + 16, context->key_id, 8);
	put_big_endian(out + 24, (uint32) context->version, 4);
	put_big_endian(out + 28, (uint16) context->purpose, 2);
}

void
dp_kms_call_fail(DpKmsCall *call, DpKmsCallStatus status, int sqlstate,
				 const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(call->detail, sizeof(call->detail), format, args);
	va_end(args);
	call->sqlstate = sqlstate;
	call->status = status;
}

bool
dp_kms_call_public_key(DpKmsCall *call, const uint8 *der, int len)
{
	if (len <= 0 || len > DP_KMS_PUBLIC_KEY_MAX)
		return false;
	memcpy(call->signature->public_key, der, len);
	call->signature->public_key_len = len;
	call->status = DP_KMS_OK;
	return true;
}

void
dp_kms_call_root(DpKmsCall *call, DpKmsRootState state, int64 delete_at, const char *uri)
{
	call->root->state = state;
	call->root->delete_at = delete_at;
	strlcpy(call->root->uri, uri != NULL ? uri : call->uri->text, sizeof(call->root->uri));
	call->status = DP_KMS_OK;
}

void
dp_kms_call_fail_unable(DpKmsCall *call)
{
	dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					 "The root does not sign: it is of another kind.");
}
