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
