/*
 * retention_table.h
 *	  A run of a retention policy, and its batches over one table.
 *
 * Every row is tried at most once a run: what is not gone after its batch is
 * left behind by the bound of the age, by its place (rows of the bound's own
 * age), or, where a trigger or rule may have written it anew, by the transaction
 * that wrote it.  So a run ends whatever hangs on the table.
 *
 * A batch first takes rows without locking them where age alone decides (the
 * change asks for the age again).  Where it meets a locked row, or a table's own
 * lock, within BUSY_MS, it is undone, and rows are locked and locked ones skipped
 * from there on.  A batch that fails otherwise is halved until the row at fault
 * is alone; that one is left behind and named by its error.
 *
 * Memory: what outlives a batch is in context or in PortalContext.
 */
#ifndef DP_LIFECYCLE_RETENTION_TABLE_H
#define DP_LIFECYCLE_RETENTION_TABLE_H

#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "sqlrun/run_as.h"
#include "storage/itemptr.h"
#include "utils/array.h"

typedef struct DpRetentionRun
{
	int64		id;
	char	   *timezone;		/* of the policy */
	char	   *datestyle;
	bool		more;			/* out of a step: call it again */
	StringInfo	report;			/* what failed or stayed, in PortalContext */
	bool		failed;			/* what no later run will do by itself */
	bool		spares;			/* holds or references may have kept rows */
	bool		locked;			/* rows stayed that somebody has locked */
	bool		waits;			/* it made room for what else is due */

	/* the table at hand, and the statements made for it */
	Oid			leaf;
	int			limit;			/* rows of a batch */
	int			floor;			/* and no fewer: a smaller one takes as long */
	double		halved_ms;		/* how long the batch took that this one is half of; 0: it is not */
	bool		locking;		/* lock rows as they are chosen */
	char		began_xid[16];	/* versions of rows from here on are this run's */
	char	   *state;			/* what the statements were made for */
	char	   *choose_sql;
	char	   *apply_sql;
	char	   *left_sql;
	char	   *code;			/* triggers and rules that may keep rows, or NULL */
	bool		has_children;
	bool		own_keys;		/* rows of the table reference one another */
	bool		skips;			/* the choice skips locked rows */
	bool		delivers;		/* rows leave for files or S3 first */
	int64		deliveries;		/* of the run */
	bool		undelivered;	/* the last one failed */
	SPIPlanPtr	choose;
	SPIPlanPtr	apply;
	SPIPlanPtr	left;
	SPIPlanPtr	look;
	SPIPlanPtr	count;
	MemoryContext context;		/* of the statements */

	/* where the next batch begins */
	char	   *bound;			/* age */
	ItemPointerData *kept;		/* rows of that age that were tried */
	int			n_kept;
	int			max_kept;

	/* of the batch under way, in its own memory */
	ArrayType  *chosen;
	char	   *next_bound;
	int64		rows;			/* changed */
	double		batch_ms;		/* how long it took */
	ArrayType  *left_behind;	/* chosen and still there */

	/* of the table */
	bool		any_kept;
	int			failures;
} DpRetentionRun;

/* Go through run->leaf; what stays is added to the report. */
extern void dp_retention_table(DpRetentionRun *run);

/* Add a line to the report. */
extern void dp_retention_note(DpRetentionRun *run, const char *format,...) pg_attribute_printf(2, 3);

/*
 * Between two batches or partitions, outside of any step: pause as the settings
 * and the load want it; in a worker, see whether it is another's turn
 * (run->waits).
 */
extern void dp_retention_pause(DpRetentionRun *run);

/*
 * In a worker: a run begins, whose turn lasts TURN_MS where something else is
 * due by then.
 */
extern void dp_retention_take_turns(void);

#endif							/* DP_LIFECYCLE_RETENTION_TABLE_H */
