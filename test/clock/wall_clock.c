/*
 * wall_clock.c
 *	  Another wall clock for a server under test.
 *
 *	cc -shared -fPIC -o wall_clock.so wall_clock.c
 *	LD_PRELOAD=wall_clock.so DP_WALL_CLOCK_SECONDS=86400 pg_ctl start ...
 *
 * Every process of the server sees a wall clock that is ahead by so many seconds
 * (behind, where negative).  To move it while the server runs, name a file of eight
 * bytes in DP_WALL_CLOCK_FILE: a number of seconds, in this machine's order, that is
 * added and looked at each time.  The clocks that count from a start of the machine are
 * left alone, as where a machine is given a wrong date.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int (*GetTime) (clockid_t, struct timespec *);

static GetTime next_clock_gettime;
static long ahead;
static volatile const int64_t *moved;	/* NULL: by no file */

/* Before main(): nothing is looked up in a signal handler. */
__attribute__((constructor)) static void
set_up(void)
{
	const char *seconds = getenv("DP_WALL_CLOCK_SECONDS");
	const char *path = getenv("DP_WALL_CLOCK_FILE");
	int			file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	next_clock_gettime = (GetTime) dlsym(RTLD_NEXT, "clock_gettime");
	ahead = seconds ? strtol(seconds, NULL, 10) : 0;
	if (file >= 0)
	{
		void	   *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);

		moved = mapped == MAP_FAILED ? NULL : mapped;
		close(file);
	}
}

int
clock_gettime(clockid_t clock, struct timespec *out)
{
	int			result;

	if (next_clock_gettime == NULL)
		set_up();
	result = next_clock_gettime(clock, out);
	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		out->tv_sec += ahead + (moved ? *moved : 0);
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
