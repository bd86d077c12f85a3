/*
 * pinned_settings.c
 *	  The list of pinned settings; see pinned_settings.h.
 */
#include "postgres.h"

#include "base/pinned_settings.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dp_pinned_settings);

/*
 * DateStyle: dates are written as ISO; the order of day and month in what a user
 * wrote stays the user's.
 */
static const struct
{
	const char *name;
	const char *value;
	bool		text_form;		/* output and input functions of values look at it */
}			pinned[] =

{
	{"array_nulls", "on", false},
	{"backslash_quote", "safe_encoding", false},
	{"bytea_output", "hex", true},
	{"datestyle", "ISO", true},
	{"escape_string_warning", "on", false},
	{"extra_float_digits", "1", true},
	{"gin_fuzzy_search_limit", "0", false},
	{"intervalstyle", "postgres", true},
	{"quote_all_identifiers", "off", false},
	{"standard_conforming_strings", "on", false},
	{"transform_null_equals", "off", false},
	{"xmlbinary", "base64", false},
	{"xmloption", "content", false},
};

/* One that has the value already is left alone: this runs many times a batch. */
static void
set(const char *name, const char *value)
{
	const char *current = GetConfigOption(name, true, false);
	Size		len = strlen(value);

	/* "ISO" of "ISO, MDY" */
	if (current != NULL && strncmp(current, value, len) == 0 && (current[len] == '\0' || current[len] == ','))
		return;
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
dp_pinned_settings_set(void)
{
	for (int i = 0; i < lengthof(pinned); i++)
		set(pinned[i].name, pinned[i].value);
}

void
dp_pinned_settings_set_text_form(void)
{
	for (int i = 0; i < lengthof(pinned); i++)
		if (pinned[i].text_form)
			set(pinned[i].name, pinned[i].value);
	set("timezone", "UTC");
}

/* dataprotect._pinned_settings(OUT name text, OUT value text) returns setof record */
Datum
dp_pinned_settings(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < lengthof(pinned); i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = CStringGetTextDatum(pinned[i].name);
		values[1] = CStringGetTextDatum(pinned[i].value);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
