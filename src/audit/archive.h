/*
 * archive.h
 *	  How long the audit log stays in its table.
 *
 * Months whose every record is older than dataprotect.audit_keep are written to
 * dataprotect.audit_archive_directory, one file each, and then dropped: the lines
 * that sinks were sent and digests are of, and those digests.  Before anything goes
 * the chain over it is verified, and it is on disk; a note (dataprotect.audit_archive,
 * signed with the chain key) says from which MAC to which the chain goes over it.
 *
 * What a sink, a digest or an open incident still needs stays.
 */
#ifndef DP_AUDIT_ARCHIVE_H
#define DP_AUDIT_ARCHIVE_H

#include "postgres.h"

#include "audit/chain.h"

/* The notes whose signature is right, ascending, palloc'd.  Inside SPI. */
extern DpChainArchive *dp_archive_list(int *out_n);

/* Registers the round; from _PG_init only. */
extern void dp_archive_init(void);

#endif							/* DP_AUDIT_ARCHIVE_H */
