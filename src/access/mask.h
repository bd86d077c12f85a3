/*
 * mask.h
 *	  Mask specifications of a key, and masking one value.
 *
 *	  spec				text "Adelaide"			anything that is not text
 *	  full				****					NULL, text form ****
 *	  partial(1,'--',2)	A--de					as full
 *	  email				see below				as full
 *	  year				as full					1 January of the value's year
 *	  null				NULL					NULL
 *	  token				tok_ and 32 hex digits	NULL, text form as for text
 *
 * partial keeps the first n and the last m characters and shows the filler once
 * for everything between, so that the length stays unknown; a value of no more
 * than n + m characters shows the filler alone.  email keeps the first
 * character of a longer local part and the last label of the domain:
 * mary.smith@mail.example.org is m***@***.org; what is no address is ****.
 * The year of a timestamptz is that of UTC: the reader's TimeZone would let him
 * narrow the instant down.
 *
 * Nothing here reads a catalog, a key or a setting.  Results are palloc'd in
 * the current context and hold nothing secret; the plaintext stays the caller's
 * to wipe.
 */
#ifndef DP_ACCESS_MASK_H
#define DP_ACCESS_MASK_H

#include "postgres.h"

#define DP_MASK_FILL_MAX	16	/* bytes of partial's filler */
#define DP_MASK_KEEP_MAX	100 /* characters that partial keeps at either end */
#define DP_MASK_TOKEN_LEN	16	/* bytes of PRF behind a token */

typedef enum DpMaskKind
{
	DP_MASK_FULL,
	DP_MASK_PARTIAL,
	DP_MASK_EMAIL,
	DP_MASK_YEAR,
	DP_MASK_NULL,
	DP_MASK_TOKEN
} DpMaskKind;

typedef struct DpMask
{
	DpMaskKind	kind;
	int			head;			/* partial: characters kept in front */
	int			tail;			/* partial: characters kept at the end */
	char		fill[DP_MASK_FILL_MAX + 1]; /* partial, server encoding */
} DpMask;

/*
 * Parse a specification; case and blanks between words do not matter.  Raises
 * ERRCODE_INVALID_PARAMETER_VALUE, with a full sentence as detail, where it is malformed.
 */
extern void dp_mask_parse_strict(const char *spec, DpMask *out);

/*
 * A text value's mask, or NULL for SQL NULL.  For DP_MASK_TOKEN, token is
 * DP_MASK_TOKEN_LEN bytes of a PRF over grantee and value (else unused).
 */
extern char *dp_mask_text(const DpMask *mask, const char *text, Size text_len,
						  const uint8 *token);

/*
 * What stands for a value of another base type where text is asked for and
 * dp_mask_datum() has no form: ****, a token, or NULL for SQL NULL.
 */
extern char *dp_mask_opaque_text(const DpMask *mask, const uint8 *token);

/*
 * The mask of a value within its own (not text-like) base type.  False where it
 * has none: the value is then SQL NULL.
 */
extern bool dp_mask_datum(const DpMask *mask, Oid base_type, Datum value, Datum *out);

#endif							/* DP_ACCESS_MASK_H */
