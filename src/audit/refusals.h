/*
 * refusals.h
 *	  What PostgreSQL itself refuses, in the audit log: functions and tables of the
 *	  extension, and tables with protected columns, that a role has no privilege on.
 *
 * The error is met where it passes through a frame (also one that a block of
 * PL/pgSQL then catches), or on its way to the server log; its object's name is
 * counted for the role in shared memory (events/denial.h), which needs no
 * transaction.  The collector looks whether the name is one that matters, and
 * writes privilege.denied with the number.  Names are taken from the server's message
 * where that is not translated; otherwise, and beyond some names a role, refusals are
 * counted without one.
 */
#ifndef DP_AUDIT_REFUSALS_H
#define DP_AUDIT_REFUSALS_H

#include "postgres.h"

/* An error that reaches the server log; it may have been counted on its way. */
extern void dp_refusal_logged(const ErrorData *edata);

/* From _PG_init only. */
extern void dp_refusals_init(void);

#endif							/* DP_AUDIT_REFUSALS_H */
