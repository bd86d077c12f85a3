/*
 * plpgsql_results.h
 *	  What PL/pgSQL functions return of protected columns, as the types that they declare.
 *
 * A function that is declared to return int4 and returns rows of a protected column
 * worked before the column was protected.  PL/pgSQL casts what RETURN gives of a
 * single value, and for rows asks for the very types.  Therefore
 *	- the query of RETURN QUERY [EXECUTE] gets, as it is analysed, casts of what it
 *	  selects to the columns' declared types
 *	- a record variable that RETURN or RETURN NEXT gives is, while the statement runs,
 *	  one of the declared types
 * each only between an encrypted type and another.  The casts are those that an
 * assignment in the function does, with the rights that one would have.
 *
 * A cursor that FETCH or MOVE reads may hold rows that were stored, which no executor gives: code
 * of others is asked before it (access/foreign_code.h).
 */
#ifndef DP_TYPES_PLPGSQL_RESULTS_H
#define DP_TYPES_PLPGSQL_RESULTS_H

#include "postgres.h"

/* Subscribe to statements and to PL/pgSQL's; from _PG_init only. */
extern void dp_plpgsql_results_init(void);

#endif							/* DP_TYPES_PLPGSQL_RESULTS_H */
