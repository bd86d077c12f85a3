/*
 * dumpable.c
 *	  Server processes that an ordinary user may look into.
 *
 *	cc -shared -fPIC -o dumpable.so dumpable.c
 *	LD_PRELOAD=dumpable.so pg_ctl start ...
 *
 * The extension takes its processes out of the reach of debuggers by
 * prctl(PR_SET_DUMPABLE, 0).  Here that does nothing, so that a test can see what
 * the operating system's administrator would.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((constructor)) static void
allow_anybody(void)
{
#ifdef PR_SET_PTRACER
	(void) syscall(SYS_prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
#endif
}

int
prctl(int option,...)
{
	unsigned long arg[4];
	va_list		args;

	va_start(args, option);
	for (int i = 0; i < 4; i++)
		arg[i] = va_arg(args, unsigned long);
	va_end(args);
	if (option == PR_SET_DUMPABLE)
	{
		allow_anybody();
		return 0;
	}
	return (int) syscall(SYS_prctl, option, arg[0], arg[1], arg[2], arg[3]);
}
