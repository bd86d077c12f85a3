/*
 * described_cursor.h
 *	  What a client is told that asks for a cursor instead of fetching from it.
 *
 * Some drivers (psycopg 3) have the server describe a cursor that they declared WITH
 * HOLD, and read what they then fetch by that.  The cursor keeps the encrypted
 * types; there is no hook where it is described.  Therefore the message, which is made of the
 * cursor's columns alone, gets the types that FETCH would give now (wire.h).
 *
 * A message is told to be about such a cursor by its columns: of another portal with
 * the same columns it would say the same of its text form, which is that of the base
 * types as well.
 */
#ifndef DP_TYPES_DESCRIBED_CURSOR_H
#define DP_TYPES_DESCRIBED_CURSOR_H

/* Subscribe to statements; from _PG_init only. */
extern void dp_described_cursor_init(void);

#endif							/* DP_TYPES_DESCRIBED_CURSOR_H */
