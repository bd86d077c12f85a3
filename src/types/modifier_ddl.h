/*
 * modifier_ddl.h
 *	  When the modifier of a type name is about to be stored.
 */
#ifndef DP_TYPES_MODIFIER_DDL_H
#define DP_TYPES_MODIFIER_DDL_H

#include "postgres.h"

/* True while a command that stores type names is being carried out. */
extern bool dp_modifier_in_ddl(void);

extern void dp_modifier_ddl_init(void);

#endif							/* DP_TYPES_MODIFIER_DDL_H */
