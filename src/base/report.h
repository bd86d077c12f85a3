/*
 * report.h
 *	  Errors that the same cause raises in many places.
 */
#ifndef DP_BASE_REPORT_H
#define DP_BASE_REPORT_H

#include "postgres.h"

#include "base/compat.h"

/* A digest, code or compression failed, for which there is no other reason. */
pg_noreturn extern void dp_report_no_memory(const char *what);

/* A statement of ours over a table of ours did something else than it says. */
pg_noreturn extern void dp_report_altered(const char *what);

#endif							/* DP_BASE_REPORT_H */
