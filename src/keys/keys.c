/*
 * keys.c
 *	  Wires the keys layer: who subscribes to what.
 */
#include "postgres.h"

#include "crypto/aead.h"
#include "keys/arena.h"
#include "keys/held_keys.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "keys/own_function.h"
#include "keys/policy_alarm.h"
#include "kms/kms.h"

void
dp_keys_init(void)
{
	dp_crypto_warm_up();
	dp_arena_init();
	dp_kms_set_sink(dp_arena_put_epoch);
	dp_kms_set_present(dp_arena_has_epoch);
	dp_own_function_init();
	dp_policy_alarm_init();
	dp_keys_held_init();		/* the first: what else ends a transaction may need a key */
	dp_keys_invalidation_init();
	dp_keys_family_init();
	dp_keys_budget_init();
	dp_keys_cache_init();
	dp_keys_system_init();
	dp_keys_pinned_init();
	dp_keys_subject_init();
	dp_policy_trigger_init();
}
