/*
 * json.h
 *	  Encrypted values inside JSON: as their base type's would be.
 *
 * The names of members are made by the output function, in queries of clients and
 * of code, and in views as they are made: no right is needed to write them so.
 */
#ifndef DP_TYPES_JSON_H
#define DP_TYPES_JSON_H

/* Subscribe to statements; from _PG_init only. */
extern void dp_json_init(void);

#endif							/* DP_TYPES_JSON_H */
