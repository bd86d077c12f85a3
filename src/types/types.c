/*
 * types.c
 *	  Hooks and callbacks of the types layer.
 */
#include "postgres.h"

#include "audit/track.h"
#include "types/client_query.h"
#include "types/described_cursor.h"
#include "types/json.h"
#include "types/modifier_ddl.h"
#include "types/open_memo.h"
#include "types/plpgsql_results.h"
#include "types/reflection.h"
#include "types/replaced_view.h"
#include "types/resolve.h"
#include "types/seal_right.h"
#include "types/storing.h"
#include "types/types.h"
#include "types/wire.h"

void
dp_types_init(void)
{
	dp_open_memo_init();
	dp_resolve_init();
	dp_seal_right_init();
	dp_modifier_ddl_init();
	dp_client_query_init();
	dp_wire_init();
	dp_described_cursor_init();
	dp_plpgsql_results_init();
	dp_replaced_view_init();
	dp_reflection_init();
	dp_json_init();
	dp_storing_init();
	dp_audit_set_protected_type(dp_type_is_encrypted);
}
