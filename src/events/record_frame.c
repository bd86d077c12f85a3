/*
 * record_frame.c
 *	  Sealing and checking the frame around a record.
 */
#include "postgres.h"

#include "events/record_frame.h"
#include "port/pg_crc32c.h"

static uint32
frame_crc(const DpRecordFrame *frame, const void *payload)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, payload, frame->len);
	COMP_CRC32C(crc, &frame->len, sizeof(DpRecordFrame) - offsetof(DpRecordFrame, len));
	FIN_CRC32C(crc);
	return crc;
}

void
dp_record_frame_seal(DpRecordFrame *frame, const void *payload)
{
	frame->magic = DP_RECORD_FRAME_MAGIC;
	frame->crc = frame_crc(frame, payload);
}

bool
dp_record_frame_check(const DpRecordFrame *frame, const void *payload)
{
	return frame->magic == DP_RECORD_FRAME_MAGIC && frame->crc == frame_crc(frame, payload);
}
