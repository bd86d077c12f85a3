/*
 * described_cursor.c
 *	  What a client is told that asks for a cursor; see described_cursor.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/statement.h"
#include "lib/stringinfo.h"
#include "libpq/libpq.h"
#include "libpq/pqformat.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "tcop/dest.h"
#include "types/described_cursor.h"
#include "types/wire.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"

/* So many at once; of more, the newest are known. */
#define MAX_HELD	16

/* Of a column in a RowDescription, after its name: table, number, type, length, modifier, format. */
#define BEFORE_TYPE (4 + 2)
#define AFTER_NAME	(BEFORE_TYPE + 4 + 2 + 4 + 2)

static char held[MAX_HELD][NAMEDATALEN];
static int	n_held = 0;

static const PQcommMethods *inner = NULL;
static PQcommMethods outer;

/* Bytes of a column's name, its end included, or 0 where the message is too short for the column. */
static size_t
name_length(const char *bytes, size_t len)
{
	size_t		n = strnlen(bytes, len) + 1;

	return n + AFTER_NAME <= len ? n : 0;
}

/* Is the message about columns of these types?  What is base types' already is not. */
static bool
is_about(TupleDesc desc, const char *bytes, size_t len)
{
	StringInfoData message = {.data = unconstify(char *, bytes),.len = (int) len,.maxlen = -1};

	if (len < 2 || (int) pq_getmsgint(&message, 2) != desc->natts)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		size_t		name = name_length(bytes + message.cursor, len - message.cursor);
		int32		typmod = TupleDescAttr(desc, i)->atttypmod;
		Oid			type = getBaseTypeAndTypmod(TupleDescAttr(desc, i)->atttypid, &typmod);

		if (name == 0)
			return false;
		message.cursor += name + BEFORE_TYPE;
		if ((Oid) pq_getmsgint(&message, 4) != type)
			return false;
		message.cursor += 2;
		if ((int32) pq_getmsgint(&message, 4) != typmod)
			return false;
		message.cursor += 2;
	}
	return true;
}

/* The columns as FETCH gives them, of the cursor that the message is about; NIL where there is none. */
static List *
fetched_columns(const char *bytes, size_t len)
{
	for (int i = n_held - 1; i >= 0; i--)
	{
		Portal		portal = GetPortalByName(held[i]);

		if (!PortalIsValid(portal) || portal->tupDesc == NULL)
			memmove(held[i], held[i + 1], (--n_held - i) * NAMEDATALEN);
		else if (is_about(portal->tupDesc, bytes, len))
			return dp_wire_cursor_columns(held[i]);
	}
	return NIL;
}

static void
append_column(StringInfo out, const char **bytes, size_t left, const TargetEntry *column)
{
	size_t		name = name_length(*bytes, left);
	int32		typmod = exprTypmod((Node *) column->expr);
	Oid			type = getBaseTypeAndTypmod(exprType((Node *) column->expr), &typmod);

	appendBinaryStringInfo(out, *bytes, (int) (name + BEFORE_TYPE));
	pq_sendint32(out, type);
	pq_sendint16(out, get_typlen(type));
	pq_sendint32(out, typmod);
	appendBinaryStringInfo(out, *bytes + name + AFTER_NAME - 2, 2);
	*bytes += name + AFTER_NAME;
}

static int
put_message(char type, const char *bytes, size_t len)
{
	List	   *columns = NIL;
	const char *place = bytes + 2;
	StringInfoData out;
	ListCell   *lc;

	if (unlikely(type == 'T' && n_held > 0) && !DP_IN_STATEMENT() && IsTransactionState())
		columns = fetched_columns(bytes, len);
	if (likely(columns == NIL))
		return inner->putmessage(type, bytes, len);
	initStringInfo(&out);
	appendBinaryStringInfo(&out, bytes, 2);
	foreach(lc, columns)
		append_column(&out, &place, bytes + len - place, lfirst_node(TargetEntry, lc));
	return inner->putmessage(type, out.data, out.len);
}

static void
note(const char *name)
{
	if (inner == NULL)
	{
		inner = PqCommMethods;
		outer = *inner;
		outer.putmessage = put_message;
		PqCommMethods = &outer;
	}
	if (n_held == MAX_HELD)
		memmove(held[0], held[1], --n_held * NAMEDATALEN);
	strlcpy(held[n_held++], name, NAMEDATALEN);
}

static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	DeclareCursorStmt *declared = (DeclareCursorStmt *) utility->statement;

	if (!failed && whereToSendOutput == DestRemote && IsA(declared, DeclareCursorStmt) && (declared->options & CURSOR_OPT_HOLD))
		note(declared->portalname);
}

static const DpSubscriber subscriber = {
	.name = "described cursors",
	.end_utility = end_utility,
};

void
dp_described_cursor_init(void)
{
	dp_statement_subscribe(&subscriber);
}
