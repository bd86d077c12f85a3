/*
 * taken_cursor.h
 *	  Cursors whose names code of others takes over.
 *
 * Whatever runs in a session closes cursors by their names (PL/pgSQL's CLOSE too), and
 * opens others under the same ones: who fetches from his own would run another query, with
 * his own rights.  The name of a cursor or portal that a function of another role closed
 * and did not open runs nothing until the end of the transaction, or until it is opened
 * outside of such functions.
 */
#ifndef DP_ACCESS_TAKEN_CURSOR_H
#define DP_ACCESS_TAKEN_CURSOR_H

extern void dp_taken_cursor_init(void);

#endif							/* DP_ACCESS_TAKEN_CURSOR_H */
