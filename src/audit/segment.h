/*
 * segment.h
 *	  Segment files: what the audit writer makes of the ring, fsynced, one
 *	  sequence of files per database and instance.
 *
 *	<dataprotect.audit_directory>/<database oid>/<instance>-<first seq>.seg
 *
 *	offset	length	content
 *	0		64		SegmentHeader
 *	64		...		frames as in the ring (events/ring.h), ascending by seq
 *
 * The writer process writes those of this server's instance; what a standby sends
 * comes as whole files, of the standby's instance (forward.c).  The collector of the
 * database reads, and removes a file when everything in it is in the table and a
 * newer one exists; on a standby, the sender does.
 */
#ifndef DP_AUDIT_SEGMENT_H
#define DP_AUDIT_SEGMENT_H

#include "postgres.h"

#include "events/ring.h"
#include "nodes/pg_list.h"

#define DP_SEGMENT_MAX		(16 * 1024 * 1024)
#define DP_SEGMENT_HEADER	64

typedef struct DpSegment
{
	uint8		instance[DP_RING_INSTANCE_LEN];
	uint64		first_seq;
	char		path[MAXPGPATH];
} DpSegment;

/* A reader; palloc'd, its file is closed by dp_segment_close(). */
typedef struct DpSegmentScan DpSegmentScan;

/* The newest number of an instance in any database's segments; in the postmaster. */
extern uint64 dp_segment_newest_seq(const uint8 *instance);

/* List of DpSegment, ascending by instance and first_seq. */
extern List *dp_segment_list(Oid database);

/* Create; raises errors.  Returns a raw file descriptor at the first frame. */
extern int	dp_segment_create(Oid database, const uint8 *instance, uint64 first_seq);

/*
 * Frames of another server that lives, as a file that is there whole or not at all.
 * boot_seq: all of that server's records below it are in this file or in older ones,
 * and their backends are gone; 1 where that is said of none.
 */
extern void dp_segment_store(Oid database, const uint8 *instance, uint64 first_seq, uint64 boot_seq,
							 const void *frames, Size len);

/* boot_seq of an instance's newest file in the list; 0 where this server wrote it itself. */
extern uint64 dp_segment_boot_seq(List *segments, const uint8 *instance);

/* The newest number of an instance in one database's segments. */
extern uint64 dp_segment_newest_in(Oid database, const uint8 *instance);

/* Remove files whose every record is in the table, each followed by a newer one. */
extern void dp_segment_remove_stored(List *segments, const uint8 *instance, uint64 cursor);

/* NULL where the file has gone or is none of this cluster's. */
extern DpSegmentScan *dp_segment_open(const DpSegment *segment, off_t offset);

/* Next whole frame; false at the end and at a torn frame. */
extern bool dp_segment_next(DpSegmentScan *scan, const DpRecordFrame **out_frame, const void **out_payload);

/* Where the next frame will be. */
extern off_t dp_segment_offset(DpSegmentScan *scan);
extern void dp_segment_close(DpSegmentScan *scan);

#endif							/* DP_AUDIT_SEGMENT_H */
