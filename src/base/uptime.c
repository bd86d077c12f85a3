/*
 * uptime.c
 *	  The clock that nobody sets; see uptime.h.
 */
#include "postgres.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/uptime.h"
#include "datatype/timestamp.h"

#define BOOT_ID_FILE		"/proc/sys/kernel/random/boot_id"

const char *
dp_boot_id(void)
{
	static char id[DP_BOOT_ID_LEN + 1];

	if (id[0] == '\0')
	{
		int			fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);

		if (fd >= 0)
		{
			if (read(fd, id, DP_BOOT_ID_LEN) != DP_BOOT_ID_LEN)
				id[0] = '\0';
			(void) close(fd);
		}
	}
	return id;
}

int64
dp_uptime_us(void)
{
	struct timespec now;

#ifdef CLOCK_BOOTTIME
	if (clock_gettime(CLOCK_BOOTTIME, &now) != 0)
#endif
		(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}
