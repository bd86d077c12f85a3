/*
 * cppcheck.h
 *	  What cppcheck must know of PostgreSQL, whose headers it is not shown:
 *	  that ERROR and above do not return.
 */
#define DEBUG1	14
#define LOG		15
#define NOTICE	18
#define WARNING 19
#define ERROR	21
#define FATAL	22
#define PANIC	23
#define ereport(level, ...) do { if ((level) >= ERROR) abort(); } while (0)
#define elog(level, ...) do { if ((level) >= ERROR) abort(); } while (0)
#define PG_TRY() {
#define PG_CATCH() } {
#define PG_FINALLY() } {
#define PG_END_TRY() }
