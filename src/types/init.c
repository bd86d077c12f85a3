/*
 * init.c
 *	  Hooks and callbacks of the types layer.
 */
#include "postgres.h"

#include "audit/track.h"
#include "types/context.h"
#include "types/guard.h"
#include "types/hide.h"
#include "types/preload.h"
#include "types/types.h"

void
dp_types_init(void)
{
	dp_preload_init();
	dp_context_init();
	dp_guard_init();
	dp_hide_init();
	dp_audit_set_protected_type(dp_type_is_encrypted);
}
