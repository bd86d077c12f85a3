/*
 * record_frame.h
 *	  What stands around each record, in the ring and in segments.
 */
#ifndef DP_EVENTS_RECORD_FRAME_H
#define DP_EVENTS_RECORD_FRAME_H

#include "postgres.h"

#define DP_RING_FRAME_MAX		8192	/* with its header */

/*
 * What stands before each payload, in the ring and in segments.
 * crc: CRC-32C of payload, then of the header without magic and crc.
 */
typedef struct DpRecordFrame
{
	uint32		magic;
	uint32		crc;
	uint32		len;			/* of the payload */
	Oid			database;
	uint64		seq;
} DpRecordFrame;

#define DP_RECORD_FRAME_MAGIC		0x31527044	/* a record */
#define DP_RECORD_FRAME_FILLER		0x30527044	/* room to skip: len bytes, no crc */
#define DP_RECORD_FRAME_SIZE(len)	MAXALIGN(sizeof(DpRecordFrame) + (len))

/* Complete a frame whose len, database and seq are set; check one. */
extern void dp_record_frame_seal(DpRecordFrame *frame, const void *payload);
extern bool dp_record_frame_check(const DpRecordFrame *frame, const void *payload);

#endif							/* DP_EVENTS_RECORD_FRAME_H */
