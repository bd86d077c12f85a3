/*
 * policy_seal.h
 *	  The seal of a row that decides something.
 *
 * Column "seal" of a table of the extension:
 *
 *	1 byte		format, 1
 *	16 bytes	MAC of the row with names in place of OIDs: what a dump keeps
 *	12 bytes	place: system identifier and database, where OIDs mean what they do
 *	16 bytes	MAC of the row with OIDs, of this place
 *
 * Both MACs are HMAC-SHA-256 under the system key "policy", cut to 16 bytes, over:
 * place (12) | database uid (16) | table's name, 0 | for each deciding column its
 * NULL flag (1), length (4), text in UTF-8.  At its place a row is judged by its
 * OIDs (roles and tables are renamed), elsewhere by names.
 *
 * Texts depend on no setting: times and intervals are written as numbers.
 */
#ifndef DP_KEYS_POLICY_SEAL_H
#define DP_KEYS_POLICY_SEAL_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "crypto/aead.h"
#include "utils/relcache.h"

/* The tables that are sealed. */
typedef enum DpSealedTable
{
	DP_SEALED_ACCESS_GRANT,
	DP_SEALED_ACCOUNT_RULE,
	DP_SEALED_ACCOUNT_TYPE,
	DP_SEALED_APPROVAL,
	DP_SEALED_DELETION_REQUEST,
	DP_SEALED_EPOCH,
	DP_SEALED_EPOCH_KEY,
	DP_SEALED_EPOCH_ROOT,
	DP_SEALED_EPOCH_SCHEDULE,
	DP_SEALED_HOLD,
	DP_SEALED_INSTANCE,
	DP_SEALED_KEY,
	DP_SEALED_KEY_VERSION,
	DP_SEALED_PLAN,
	DP_SEALED_PLAN_EDGE,
	DP_SEALED_PLAN_STEP,
	DP_SEALED_PLAN_TABLE,
	DP_SEALED_RETENTION_CHILD,
	DP_SEALED_RETENTION_POLICY,
	DP_SEALED_SINK,
	DP_SEALED_SUBJECT_BINDING,
	DP_SEALED_SUBJECT_KEY,
	DP_SEALED_SUSPENDED_SUBJECT,
	DP_SEALED_TOMBSTONE,
	DP_SEALED_TRUSTED_FUNCTION,
	DP_SEALED_TYPE_MODIFIER,
	DP_N_SEALED_TABLES
} DpSealedTable;

typedef struct DpSealedTableInfo
{
	const char *name;
	const char *columns;		/* what decides, in the order of the MAC: fixed for good */
	const char *scope;			/* column whose value its rows are kept together by; NULL: all */
	const char *index;			/* finds the rows of a scope */
	bool		rooted;			/* removed rows and old versions are noticed; policy_root.h */
} DpSealedTableInfo;

extern const DpSealedTableInfo dp_sealed_tables[DP_N_SEALED_TABLES];

typedef enum DpPolicyKey
{
	DP_POLICY_NONE,				/* no key was ever made: nothing is sealed yet */
	DP_POLICY_READY,
	DP_POLICY_AWAY,				/* its KMS does not answer */
	DP_POLICY_LOST				/* there are keys, and it is not among them */
} DpPolicyKey;

/* Where the policy key and the database's uid come from. */
typedef DpPolicyKey (*DpPolicyKeySource) (DpPrf **out_prf, uint8 out_uid[16]);
extern void dp_seal_set_source(DpPolicyKeySource source, bool (*is_overtaken) (void));
extern DpPolicyKey dp_seal_key(DpPrf **out_prf, uint8 out_uid[16]);

/*
 * Whoever finds a row that is not sealed asks: has the policy key been replaced
 * since?  Then keys that were got before are void, and the row is looked at again.
 */
extern bool dp_seal_key_is_overtaken(void);

typedef enum DpSealVerdict
{
	DP_SEAL_GOOD,
	DP_SEAL_BAD,
	DP_SEAL_UNKNOWN				/* KMS away: whoever needs a key will say so */
} DpSealVerdict;

/* DP_N_SEALED_TABLES where it is none of them. */
extern DpSealedTable dp_sealed_table_find(const char *name);

/*
 * The row as its seal says.  Reads catalogs, and the policy key where it is not
 * known; never under a page lock.  dp_seal_check_with() asks for no key.  A row that
 * does not fit since a rotation has just replaced it is a retryable error.
 */
extern DpSealVerdict dp_seal_check(DpSealedTable table, Relation rel, HeapTuple row);
extern bool dp_seal_check_with(DpPrf *prf, const uint8 uid[16], DpSealedTable table, Relation rel, HeapTuple row);

/* The seal of a row, palloc'd. */
extern bytea *dp_seal_make(DpPrf *prf, const uint8 uid[16], DpSealedTable table, Relation rel, HeapTuple row);

/* Do two rows decide the same? */
extern bool dp_seal_same(DpSealedTable table, Relation rel, HeapTuple one, HeapTuple other);

/* The row's seal, NULL where it has none; and its scope. */
extern bytea *dp_seal_of(Relation rel, HeapTuple row);
extern int64 dp_seal_scope(DpSealedTable table, Relation rel, HeapTuple row);

#endif							/* DP_KEYS_POLICY_SEAL_H */
