/*
 * catalog.h
 *	  Rows of the key tables, read by index under the catalog snapshot.
 *
 * The active snapshot would miss a key committed after a REPEATABLE READ
 * transaction began; the catalog snapshot sees what is committed and what this
 * transaction did.  It takes relation locks: never call these in a comparator.
 */
#ifndef DP_KEYS_CATALOG_H
#define DP_KEYS_CATALOG_H

#include "postgres.h"

#include "base/uptime.h"
#include "keys/arena.h"
#include "keys/keys.h"
#include "keys/policy_seal.h"
#include "kms/kms.h"

typedef struct DpVersionRow
{
	uint64		key_id;
	int32		family;
	int16		purpose;
	int32		version;
	uint64		epoch;
	char		state;
	bool		has_wrapped;
	TimestampTz expires_at;		/* DT_NOEND: never */
	DpSealVerdict seal;			/* of a key of family 0, its wrapping says enough */
	uint8		wrapped[DP_WRAPPED_LEN];
} DpVersionRow;

typedef struct DpEpochRow
{
	DpKmsContext context;
	int			n_uris;
	char	   *uris[DP_KMS_MAX_URIS];	/* palloc'd */
	DpKmsBlob  *blobs;			/* palloc'd array of n_uris */
} DpEpochRow;

/* False where there is no such row. */
extern bool dp_catalog_read_version(uint64 key_id, DpVersionRow *out);
extern bool dp_catalog_read_epoch(uint64 key_id, DpEpochRow *out);
extern bool dp_catalog_read_family_by_name(const char *name, DpFamily *out);
extern bool dp_catalog_read_family(int32 family, DpFamily *out);
extern bool dp_catalog_read_system(DpSystemKeys *out, bool *out_committed);

/* An error (42704) where there is none, or it has no URI of that number, from 1. */
extern void dp_catalog_require_epoch(uint64 key_id, int uri, DpEpochRow *out);

/* The newest key of an account; the account's row of a key, its names palloc'd. */
typedef struct DpSubjectRow
{
	uint64		key_id;
	int32		family;
	int32		version;
	char	   *account_type;
	char	   *subject;
} DpSubjectRow;

extern bool dp_catalog_read_subject(int32 family, const char *account_type, const char *subject,
									DpSubjectRow *out);
extern bool dp_catalog_read_subject_of(uint64 key_id, DpSubjectRow *out);
extern bool dp_catalog_has_tombstone(const char *account_type, const char *subject);
extern bool dp_catalog_is_suspended(const char *account_type, const char *subject);
extern bool dp_catalog_in_lockdown(void);

/* A version of a named key, by its number. */
extern bool dp_catalog_read_numbered(int32 family, int32 version, DpVersionRow *out);

/* The newest time that is on record: lifecycle/clock.c writes it. */
typedef struct DpClockRow
{
	TimestampTz newest;
	char		boot[DP_BOOT_ID_LEN + 1];
	int64		uptime;
} DpClockRow;

extern bool dp_catalog_read_clock(DpClockRow *out);
extern void dp_catalog_database_uid(uint8 out[16]);

/* Is there any key of a named one?  Was the object made with the extension? */
extern bool dp_catalog_has_keys(void);
extern bool dp_catalog_is_member(Oid class_id, Oid object_id);

/* Every key id of a family's named versions, palloc'd. */
extern int	dp_catalog_list_versions(int32 family, uint64 **out_key_ids);

/* Every family, palloc'd. */
extern int	dp_catalog_list_families(int32 **out_families);

/*
 * Is the extension in this database?  Cheap: a superuser's schema of its name is.
 * Anybody may make a schema; what is not a superuser's is not ours.
 */
extern bool dp_catalog_is_there(void);

/*
 * OID of a table of schema dataprotect; error where the extension is missing, or of
 * another version than the library.
 */
extern Oid	dp_catalog_relation(const char *name);

/* Owner of the extension's tables: who internal statements run as. */
extern Oid	dp_catalog_owner(void);

#endif							/* DP_KEYS_CATALOG_H */
