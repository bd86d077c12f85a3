/*
 * guard_alter.h
 *	  ALTER TABLE that changes the type of a protected column.
 *
 * To a type that bears no encrypted values it decrypts the column: that is for
 * members of dataprotect_admin, who also need reveal, and is an event with an
 * alert, whoever sends the command (decrypt_column() does).  While any type is
 * changed, what a mask or an unreadable value would become is an error.
 */
#ifndef DP_COLUMNS_GUARD_ALTER_H
#define DP_COLUMNS_GUARD_ALTER_H

extern void dp_guard_alter_init(void);

#endif							/* DP_COLUMNS_GUARD_ALTER_H */
