/*
 * name_filter.h
 *	  Which names are in a batch of the log, in some bits each; for audit/ only.
 *
 * A set of 64-bit hashes is gathered and then written as a Bloom filter of the
 * size that it needs: it never misses one, and says of about one in a hundred (at
 * 12 bits a name; one in four hundred at 16) that it is there where it is not.
 */
#ifndef DP_AUDIT_NAME_FILTER_H
#define DP_AUDIT_NAME_FILTER_H

#include "postgres.h"

/* Gathered hashes, each once.  All zeros: none; grows in the current memory context. */
typedef struct DpNameSet
{
	int			n;
	int			max;			/* a power of two, or 0 */
	uint64	   *slots;			/* 0: empty */
} DpNameSet;

/* The same on every machine.  what: a kind of name. */
extern uint64 dp_name_hash(uint8 what, const void *data, Size len);

extern void dp_name_set_add(DpNameSet *set, uint64 hash);

/* Bytes of its filter, with so many bits a name. */
extern Size dp_name_set_size(const DpNameSet *set, int bits);
extern void dp_name_set_write(const DpNameSet *set, uint8 *out, Size len);

extern bool dp_name_filter_has(const uint8 *filter, Size len, uint64 hash);

#endif							/* DP_AUDIT_NAME_FILTER_H */
