/*
 * control.h
 *	  The file through which a test tells a server's processes what is to fail.
 */
#ifndef DP_FAULT_CONTROL_H
#define DP_FAULT_CONTROL_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The file that an environment variable names, mapped and shared; NULL where there is none. */
static void *
map_control_file(const char *variable, size_t size)
{
	const char *path = getenv(variable);
	int			fd = path != NULL ? open(path, O_RDWR) : -1;
	void	   *map;

	if (fd < 0)
		return NULL;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return map == MAP_FAILED ? NULL : map;
}

#endif							/* DP_FAULT_CONTROL_H */
