/*
 * token_constraint.h
 *	  UNIQUE and PRIMARY KEY over searchable columns.
 *
 * A constraint's syntax names no operator class, and takes the default: the
 * plaintext order, which only ordered columns allow.  For columns that are
 * searchable and not ordered it gets the token class instead, in CREATE TABLE and
 * in ALTER TABLE ... ADD CONSTRAINT, so that such constraints are dumped, restored
 * and made by frameworks as any other.  pg_upgrade takes the files of such indexes
 * over: there, too, the column's modifier says the class.
 *
 * A foreign key over protected columns is checked row by row when it is added: the
 * one query that joins both tables would ask the right to read.
 */
#ifndef DP_COLUMNS_TOKEN_CONSTRAINT_H
#define DP_COLUMNS_TOKEN_CONSTRAINT_H

/* Subscribe; from _PG_init only. */
extern void dp_token_constraint_init(void);

#endif							/* DP_COLUMNS_TOKEN_CONSTRAINT_H */
