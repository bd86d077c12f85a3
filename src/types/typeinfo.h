/*
 * typeinfo.h
 *	  What is known about one encrypted type and its base type.
 *
 * Entries live as long as the backend; pointers to them stay valid.
 */
#ifndef DP_TYPES_TYPEINFO_H
#define DP_TYPES_TYPEINFO_H

#include "postgres.h"

#include "fmgr.h"

/*
 * How the base type's values are written down before sealing: independent of
 * the machine and of PostgreSQL's version.
 */
typedef enum DpEncoding
{
	DP_ENC_TEXT,				/* the characters, in UTF-8 */
	DP_ENC_BYTES,				/* the bytes of a bytea */
	DP_ENC_INTEGER,				/* pass-by-value, big endian, 1, 2, 4 or 8 bytes */
	DP_ENC_FIXED,				/* pass-by-reference, the type's send() form */
	DP_ENC_SENDRECV,			/* the type's send() form */
	DP_ENC_OUTPUT				/* the type's text form, in UTF-8, fixed settings */
} DpEncoding;

typedef struct DpTypeInfo
{
	Oid			enc_oid;
	Oid			base_oid;
	uint32		code;			/* stable number of the base type, authenticated */
	DpEncoding	encoding;
	int16		base_len;
	bool		base_byval;
	char		base_align;
	bool		can_token;		/* has a canonical form: searchable, unique */
	bool		folds;			/* citext: equality without regard to case */
	Oid			base_ioparam;
	Oid			base_typmodin;	/* for text: varchar's */
	Oid			base_coercion;	/* length coercion (base, int4, bool), or invalid */
	FmgrInfo	base_in;
	FmgrInfo	base_out;
	FmgrInfo	base_send;
	FmgrInfo	base_recv;
	FmgrInfo	base_eq;		/* fn_oid invalid where it has none */
	FmgrInfo	base_cmp;
	FmgrInfo	base_hash;
	char		name[NAMEDATALEN];	/* of the encrypted type, for messages */
} DpTypeInfo;

/* Of an encrypted type; error where typid is none. */
extern const DpTypeInfo *dp_typeinfo_get(Oid typid);

/* The encrypted type over a base type, or InvalidOid. */
extern Oid	dp_typeinfo_encrypted_over(Oid base_oid);

/* Is a function ours, by the name of its C function?  False where there is none. */
extern bool dp_typeinfo_is_c_function(Oid funcid, const char *symbol);

/* Declared types of a function; unary ones have InvalidOid for the second. */
typedef struct DpSignature
{
	Oid			funcid;
	Oid			rettype;
	Oid			argtypes[2];
} DpSignature;

/* Remembered: statements look the same few functions up again and again. */
extern const DpSignature *dp_typeinfo_signature(Oid funcid);

/*
 * State of a call site, in fn_extra: the first encrypted type among the
 * function's declared argument and result types.
 */
extern const DpTypeInfo *dp_typeinfo_of_call(FunctionCallInfo fcinfo);

/*
 * The encrypted type that a function serves whose declared types do not say it
 * (cstring[], internal): the one that has it for its modifier or in an operator
 * class, whatever either is called.
 */
extern const DpTypeInfo *dp_typeinfo_served(Oid funcid);

#endif							/* DP_TYPES_TYPEINFO_H */
