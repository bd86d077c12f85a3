/*
 * pooled.c
 *	  Settings of sessions that clients share; see pooled.h.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "base/guc.h"
#include "base/pooled.h"
#include "base/statement.h"
#include "utils/guc.h"

#define PREFIX "dataprotect."

/* What an ordinary role can set. */
static const char *const settings[] = {PREFIX "input", PREFIX "output", PREFIX "purpose"};

static void
refuse_session_settings(const DpUtility *utility, Datum *state)
{
	VariableSetStmt *set = (VariableSetStmt *) utility->statement;

	if (!dp_guc_pooled || !IsA(set, VariableSetStmt) || set->is_local || set->name == NULL ||
		(set->kind != VAR_SET_VALUE && set->kind != VAR_SET_CURRENT) ||
		pg_strncasecmp(set->name, PREFIX, strlen(PREFIX)) != 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CANT_CHANGE_RUNTIME_PARAM),
			 errmsg("parameter \"%s\" cannot be set for a session that clients share", set->name),
			 errdetail("\"dataprotect.pooled\" is on: the next client would have the setting as well."),
			 errhint("Use SET LOCAL within a transaction.")));
}

/* While errors are still errors: AtEOXact_GUC() keeps what is set here. */
static void
end_settings(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			for (int i = 0; dp_guc_pooled && i < lengthof(settings); i++)
				(void) set_config_option(settings[i], NULL, PGC_USERSET, PGC_S_SESSION,
										 GUC_ACTION_SET, true, 0, false);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			break;				/* an abort takes them back anyway */
	}
}

static const DpSubscriber subscriber = {
	.name = "pooled sessions",
	.begin_utility = refuse_session_settings,
};

void
dp_pooled_init(void)
{
	dp_statement_subscribe(&subscriber);
	RegisterXactCallback(end_settings, NULL);
}
