/*
 * pinned_settings.h
 *	  Settings that change how SQL of ours is read, or how values are written.
 *
 * Statements that we put together, expressions that PostgreSQL writes out for
 * us, and values whose text form is stored must mean the same in every session.
 * The settings they depend on are listed in one place, pinned_settings.c, and
 * have a fixed value
 *	- in each PL/pgSQL routine of the extension, by its SET clauses
 *	  (_pin_routines(), the last piece of the installation);
 *	- in each statement that C runs as somebody else (sqlrun/run_as.c);
 *	- around the text form of a value that is sealed (types/codec.c).
 * A procedure that commits cannot have SET clauses: it holds no backslash, and
 * leaves what depends on settings to functions.
 */
#ifndef DP_BASE_PINNED_SETTINGS_H
#define DP_BASE_PINNED_SETTINGS_H

#include "postgres.h"

/* Set all, until AtEOXact_GUC() at the caller's own nest level. */
extern void dp_pinned_settings_set(void);

/* Those that the text form of a value depends on; UTC too. */
extern void dp_pinned_settings_set_text_form(void);

#endif							/* DP_BASE_PINNED_SETTINGS_H */
