/*
 * ttlv.h
 *	  Tag, type, length, value: the encoding of KMIP's messages.
 *
 * An item is a tag of 3 bytes, a type of 1, a length of 4, all big endian, and a
 * value that is filled up with zeros to a multiple of 8 bytes.  A structure's value
 * is the items that it holds.
 *
 * Free of PostgreSQL, so that it can be fuzzed.  Nothing here allocates; reading
 * stays inside the bytes given, which are a stranger's.
 */
#ifndef DP_KMS_TTLV_H
#define DP_KMS_TTLV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_TTLV_HEADER		8
#define DP_TTLV_DEPTH		8	/* structures within each other */

typedef enum DpTtlvType
{
	DP_TTLV_STRUCTURE = 1,
	DP_TTLV_INTEGER = 2,
	DP_TTLV_ENUMERATION = 5,
	DP_TTLV_TEXT = 7,
	DP_TTLV_BYTES = 8
} DpTtlvType;

typedef struct DpTtlvItem
{
	uint32_t	tag;
	uint8_t		type;
	size_t		len;
	const uint8_t *value;		/* in the bytes that were read */
} DpTtlvItem;

/*
 * The size of the item whose first bytes these are, header and filling included:
 * -1 where more are needed to tell, 0 where it is no structure.
 */
extern int64_t dp_ttlv_size(const uint8_t *bytes, size_t len);

/* The one item that the bytes are; false unless it and all within are well formed. */
extern bool dp_ttlv_read(const uint8_t *bytes, size_t len, DpTtlvItem *out);

/* The item at *cursor, which moves behind it; false at the end. */
extern bool dp_ttlv_next(const uint8_t **cursor, const uint8_t *end, DpTtlvItem *out);

/* The first item of that tag directly within a structure that was read. */
extern bool dp_ttlv_find(const DpTtlvItem *structure, uint32_t tag, DpTtlvItem *out);

/* The number in the first such item; false where there is none. */
extern bool dp_ttlv_find_number(const DpTtlvItem *structure, uint32_t tag, DpTtlvType type, uint32_t *out);

/* Writing: into room bytes; "full" once they did not suffice. */
typedef struct DpTtlvWriter
{
	uint8_t    *data;
	size_t		room;
	size_t		len;
	bool		full;
	int			depth;
	size_t		open[DP_TTLV_DEPTH];	/* where structures began that are not ended */
} DpTtlvWriter;

extern void dp_ttlv_begin(DpTtlvWriter *writer, uint32_t tag);
extern void dp_ttlv_end(DpTtlvWriter *writer);
extern void dp_ttlv_number(DpTtlvWriter *writer, uint32_t tag, DpTtlvType type, uint32_t value);
extern void dp_ttlv_bytes(DpTtlvWriter *writer, uint32_t tag, DpTtlvType type, const void *bytes, size_t len);

#endif							/* DP_KMS_TTLV_H */
