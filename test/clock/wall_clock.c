/*
 * wall_clock.c
 *	  Another wall clock for a server under test.
 *
 *	cc -shared -fPIC -o wall_clock.so wall_clock.c
 *	LD_PRELOAD=wall_clock.so DP_WALL_CLOCK_SECONDS=86400 pg_ctl start ...
 *
 * Every process of the server sees a wall clock that is ahead by so many seconds
 * (behind, where negative).  The clocks that count from a start of the machine are
 * left alone, as where a machine is given a wrong date.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

typedef int (*GetTime) (clockid_t, struct timespec *);

static GetTime next_clock_gettime;
static long ahead;

/* Before main(): nothing is looked up in a signal handler. */
__attribute__((constructor)) static void
set_up(void)
{
	const char *seconds = getenv("DP_WALL_CLOCK_SECONDS");

	next_clock_gettime = (GetTime) dlsym(RTLD_NEXT, "clock_gettime");
	ahead = seconds ? strtol(seconds, NULL, 10) : 0;
}

int
clock_gettime(clockid_t clock, struct timespec *out)
{
	int			result;

	if (next_clock_gettime == NULL)
		set_up();
	result = next_clock_gettime(clock, out);
	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		out->tv_sec += ahead;
	return result;
}

/* The other two ways to ask are ways to ask this one. */
int
gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	struct timespec now;

	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return -1;
	out->tv_sec = now.tv_sec;
	out->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec now;

	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return (time_t) -1;
	if (out != NULL)
		*out = now.tv_sec;
	return now.tv_sec;
}
