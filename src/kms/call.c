/*
 * call.c
 *	  What every provider does with a call; see provider.h.
 */
#include "postgres.h"

#include "kms/provider.h"

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
