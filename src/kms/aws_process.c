/*
 * aws_process.c
 *	  Running a program that prints credentials; see aws_process.h.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/secret.h"
#include "kms/aws_process.h"
#include "kms/child_call.h"
#include "kms/http.h"
#include "kms/kms_shmem.h"

#define OUTPUT_MAX		(64 * 1024)
#define REAP_MS			50		/* after its output has ended */
#define MAX_WORDS		64

static pid_t pid = 0;			/* 0: none runs */
static int	fd = -1;			/* its output; -1: has ended */
static int64 deadline;
static char output[OUTPUT_MAX + 1];
static Size output_len;

/* Killed when nobody waited for it any more, and not reaped yet. */
#define MAX_LEFT 16
static pid_t left[MAX_LEFT];

static void
reap_left(void)
{
	for (int i = 0; i < MAX_LEFT; i++)
	{
		if (left[i] != 0 && waitpid(left[i], NULL, WNOHANG) != 0)
			left[i] = 0;
	}
}

static void
close_output(void)
{
	if (fd >= 0)
	{
		dp_http_unwatch(fd);
		(void) close(fd);
	}
	fd = -1;
}

/* In the child: does not return. */
static void
run(char **words, int out)
{
	int			none = open("/dev/null", O_RDWR);

	if (none < 0 || dup2(none, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(none, STDERR_FILENO) < 0)
		_exit(127);
	/* The server's files, sockets and shared memory are not the program's. */
	for (int i = STDERR_FILENO + 1, max = (int) sysconf(_SC_OPEN_MAX); i < Min(max, 65536); i++)
		(void) close(i);
	(void) execv(words[0], words);
	_exit(127);
}

bool
dp_aws_process_start(const char *command, int timeout_ms)
{
	static char text[sizeof(((DpAwsProfile *) 0)->process)];
	char	   *words[MAX_WORDS + 1];
	int			fds[2];

	dp_aws_process_cancel();
	strlcpy(text, command, sizeof(text));
	if (!dp_aws_command_split(text, words, MAX_WORDS) || words[0][0] != '/' || pipe2(fds, O_CLOEXEC) != 0)
		return false;
	output_len = 0;
	fd = fds[0];
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 && dp_http_watch(fds[0]))
		pid = dp_child_fork();
	else
		pid = -1;
	if (pid == 0)
		run(words, fds[1]);
	(void) close(fds[1]);
	if (pid < 0)
	{
		pid = 0;
		close_output();
		return false;
	}
	deadline = dp_kms_now() + timeout_ms;
	return true;
}

void
dp_aws_process_cancel(void)
{
	close_output();
	dp_secret_wipe(output, output_len);
	reap_left();
	if (pid > 0)
	{
		(void) kill(pid, SIGKILL);
		for (int i = 0; i < MAX_LEFT; i++)
		{
			if (left[i] == 0)
			{
				left[i] = pid;
				break;
			}
		}
	}
	pid = 0;
}

/* True where all of it is here, or more than there may be. */
static bool
read_output(void)
{
	ssize_t		n;

	if (fd < 0)
		return true;
	do
	{
		n = read(fd, output + output_len, OUTPUT_MAX - output_len);
		output_len += Max(n, 0);
	} while ((n > 0 && output_len < OUTPUT_MAX) || (n < 0 && errno == EINTR));
	if (n < 0 && errno == EAGAIN)
		return false;
	close_output();
	return true;
}

DpAwsProcessEnd
dp_aws_process_look(char **out_text, Size *out_len)
{
	int			status = 0;
	pid_t		ended;

	reap_left();
	if (pid == 0)
		return DP_AWS_PROCESS_NONE;
	ended = read_output() ? waitpid(pid, &status, WNOHANG) : 0;
	if (ended == 0 && dp_kms_now() < deadline)
		return DP_AWS_PROCESS_NONE;
	if (ended == 0)
	{
		dp_aws_process_cancel();
		return DP_AWS_PROCESS_LATE;
	}
	pid = 0;
	if (ended < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0 || output_len == OUTPUT_MAX)
	{
		dp_secret_wipe(output, output_len);
		return DP_AWS_PROCESS_FAILED;
	}
	*out_text = output;
	*out_len = output_len;
	return DP_AWS_PROCESS_DONE;
}

int
dp_aws_process_timeout(void)
{
	if (pid == 0)
		return -1;
	return fd < 0 ? REAP_MS : (int) Max(0, Min(deadline - dp_kms_now(), 60 * 1000));
}
