/*
 * denial.h
 *	  Refused reads, which any role can cause as often as it likes.
 *
 * The first refusal of a role for a key and the columns that its statement reads
 * is a record at once.  Those that follow
 * within DP_DENIAL_WINDOW are counted, in the ring's file, where a crash leaves
 * them; once the window is over the database's collector writes one record with
 * their number.  So the log grows by a few rows a second, whoever tries, and no
 * refusal is missing from the counts.  Purpose, client and application are those
 * of the first refusal: they are the attacker's to vary.
 *
 * Where more roles and keys are active than there are places, the last place
 * counts the rest together, without names.  One session role, whatever roles it sets,
 * has DP_DENIAL_COLUMN_SETS places with columns at most: what it tries beyond is counted
 * by key alone.
 */
#ifndef DP_EVENTS_DENIAL_H
#define DP_EVENTS_DENIAL_H

#include "postgres.h"

#include "datatype/timestamp.h"

struct DpRecord;

#define DP_DENIAL_WINDOW	USECS_PER_SEC
#define DP_DENIAL_PLACES	64
#define DP_DENIAL_COLUMN_SETS	8
#define DP_DENIAL_COLUMNS	384 /* bytes of names of columns; further names are left out */

/* In place of a key: tokens that were refused. */
#define DP_DENIAL_TOKEN "(token)"

/* In place of a key: this, and the name of an object that PostgreSQL refused, or none. */
#define DP_DENIAL_OBJECT '!'
#define DP_DENIAL_OBJECTS 4		/* names of a session role at a time; more are counted together */

/* In the ring's file; under its lock of witnesses. */
typedef struct DpDenial
{
	Oid			database;		/* 0: free */
	Oid			session_role;	/* 0: several */
	Oid			role;
	uint32		unused;
	TimestampTz since;			/* the window began with a record */
	TimestampTz last;			/* newest refusal counted */
	uint64		count;			/* refusals without a record yet */
	char		key[NAMEDATALEN];
	char		columns[DP_DENIAL_COLUMNS]; /* schema.table.column, each with a zero byte; zeroes
											 * behind */
} DpDenial;

/*
 * A refusal by this session; true where it needs a record of its own.  columns:
 * those of the refused statement, as in DpDenial, or NULL; emptied where the role
 * has its share of places.
 */
extern bool dp_denial_note(const char *key_name, char *columns);

/* The columns that the current statement reads as the current role, as in DpDenial. */
extern void dp_denial_columns(char *columns);

/* Who knows them: writes at most size - 1 bytes, over zeroes. */
extern void dp_denial_set_columns(void (*write_names) (char *out, Size size));

/* Name them in a record, which points into them. */
extern void dp_denial_add_columns(struct DpRecord *record, const char *columns);

/*
 * PostgreSQL has refused this session an object; "" where the name is not known.  Counts,
 * in shared memory alone: to be called while an error passes.
 */
extern void dp_denial_count_object(const char *name);

/* Which objects' refusals become records: asked by the collector, in a transaction. */
extern void dp_denial_set_judge(bool (*matters) (const char *object));

/*
 * Write the counts of this database: of windows that are over, or all.  In a
 * transaction; may wait for room.
 */
extern void dp_denial_write_counts(bool all);

#endif							/* DP_EVENTS_DENIAL_H */
