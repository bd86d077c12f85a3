/*
 * text.h
 *	  Text of users in fields of a fixed size.
 */
#ifndef DP_BASE_TEXT_H
#define DP_BASE_TEXT_H

#include "postgres.h"

/*
 * Copy a text, or nothing for NULL, into out, which has room for size bytes with
 * its final NUL; returns the length.  What does not fit is cut off between two
 * characters of the database's encoding, and bytes that are none (settings of a
 * connection's start, names from a database of another encoding) become "?".
 * Raises nothing and allocates nothing.
 */
extern Size dp_text_copy(char *out, Size size, const char *text);

#endif							/* DP_BASE_TEXT_H */
