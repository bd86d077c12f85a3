/*
 * codec.h
 *	  How plaintext is written down before it is sealed.
 *
 *	base type						bytes
 *	text							the characters in UTF-8
 *	bytea							the bytes
 *	int2 int4 int8 bool				big endian two's complement, 2, 4, 8, 1 bytes
 *	float4 float8					IEEE 754, big endian
 *	date							int4, days since 2000-01-01
 *	time timestamp timestamptz		int8, microseconds (since midnight, 2000-01-01)
 *	uuid							16 bytes
 *	interval						int8 microseconds, int4 days, int4 months
 *	numeric inet					the binary wire form of the type
 *	jsonb and any other type		the text form in UTF-8, ISO dates, UTC kept
 *
 * The same on every machine and every supported version of PostgreSQL.
 */
#ifndef DP_TYPES_CODEC_H
#define DP_TYPES_CODEC_H

#include "postgres.h"

#include "types/typeinfo.h"

/* Encoded plaintext; data may point into the Datum it came from. */
typedef struct DpPlain
{
	const uint8 *data;
	Size		len;
	void	   *owned;			/* palloc'd, wiped and freed by dp_plain_done() */
	Size		owned_len;
	uint8		small[16];
} DpPlain;

extern void dp_codec_encode(const DpTypeInfo *info, Datum value, DpPlain *out);
extern void dp_plain_done(DpPlain *plain);

/* Bytes that are the same exactly where the base type's = says so (canonical.c). */
extern void dp_codec_canonical(const DpTypeInfo *info, Datum value, DpPlain *out);

/* Decode; by-reference results are palloc'd. */
extern Datum dp_codec_decode(const DpTypeInfo *info, const uint8 *data, Size len);

#endif							/* DP_TYPES_CODEC_H */
