/*
 * columns.c
 *	  Hooks and callbacks of the columns layer.
 */
#include "postgres.h"

#include "columns/changed_row.h"
#include "columns/columns.h"
#include "columns/folded_index.h"
#include "columns/foreign_argument.h"
#include "columns/foreign_condition.h"
#include "columns/foreign_expression.h"
#include "columns/foreign_trigger.h"
#include "columns/guard.h"
#include "columns/hidden_index.h"
#include "columns/insert_counts.h"
#include "columns/kept_value.h"
#include "columns/preload_keys.h"
#include "columns/reencrypt_worker.h"
#include "columns/put_off.h"
#include "columns/token_constraint.h"
#include "columns/word_index.h"

void
dp_columns_init(void)
{
	dp_reencrypt_worker_init();
	dp_preload_keys_init();
	dp_put_off_init();			/* sees statements as they came */
	dp_token_constraint_init();
	dp_guard_init();
	dp_hidden_index_init();
	dp_insert_counts_init();
	dp_folded_index_init();
	dp_word_index_init();
	dp_foreign_trigger_init();	/* sees views as they are, before the others */
	dp_foreign_expression_init();
	dp_foreign_condition_init();
	dp_foreign_argument_init();
	dp_kept_value_init();
	dp_changed_row_init();
}
