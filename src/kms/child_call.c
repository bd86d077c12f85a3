/*
 * child_call.c
 *	  Calls in processes of their own; see child_call.h.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/secret.h"
#include "kms/child_call.h"
#include "kms/http.h"

#define REAP_MS			1000	/* how often to look for those that have ended */
#define LEAVE_SECONDS	10		/* for what the child does after its answer */

/* What a child sends: all that a call may bring. */
typedef struct Answer
{
	DpKmsCallStatus status;
	int			sqlstate;
	char		detail[256];
	uint8		key[DP_KEY_LEN];
	DpKmsBlob	blob;
	DpKmsSignature signature;
	DpKmsRoot	root;
	uint8		kept[DP_CHILD_KEPT_MAX];
} Answer;

typedef struct Child
{
	DpKmsCall  *call;			/* NULL: has been answered or given up, and is to be reaped */
	const DpChildJob *job;
	pid_t		pid;			/* 0: waits for the others to be done */
	int			fd;				/* where the answer comes; -1: closed */
	Size		received;
	Answer		answer;
	struct Child *next;
} Child;

static Child *children = NULL;

/* ---- in the child ---- */

static void
send_answer(int fd, const Answer *answer)
{
	const char *at = (const char *) answer;
	Size		left = sizeof(*answer);

	while (left > 0)
	{
		ssize_t		n = write(fd, at, left);

		if (n <= 0)
			_exit(1);
		at += n;
		left -= n;
	}
}

static void
become_child(pid_t parent)
{
	static const int ours[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGPIPE, SIGUSR1, SIGUSR2, SIGCHLD, SIGURG};
	sigset_t	none;

	for (int i = 0; i < lengthof(ours); i++)
		(void) signal(ours[i], SIG_DFL);
	sigemptyset(&none);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(1);
}

pid_t
dp_child_fork(void)
{
	pid_t		parent = getpid();
	pid_t		pid = fork();

	if (pid == 0)
		become_child(parent);
	return pid;
}

static void
serve(DpKmsCall *call, const DpChildJob *job, int fd)
{
	static Answer answer;

	/* Locks on memory are not inherited. */
	(void) mlock(call->key, DP_KEY_LEN);
	(void) mlock(&answer, sizeof(answer));
	job->run(call);
	answer.status = call->status;
	answer.sqlstate = call->sqlstate;
	memcpy(answer.detail, call->detail, sizeof(answer.detail));
	memcpy(answer.key, call->key, DP_KEY_LEN);
	answer.blob = call->blob;
	answer.signature = *call->signature;
	answer.root = *call->root;
	memcpy(answer.kept, job->kept, job->kept_len);
	send_answer(fd, &answer);
	dp_secret_wipe(&answer, sizeof(answer));
	dp_secret_wipe(call->key, DP_KEY_LEN);
	(void) close(fd);
	(void) alarm(LEAVE_SECONDS);
	job->leave();
	_exit(0);
}

/* ---- in the agent ---- */

static void
stop_listening(Child *child)
{
	if (child->fd >= 0)
	{
		dp_http_unwatch(child->fd);
		(void) close(child->fd);
	}
	child->fd = -1;
	dp_secret_wipe(&child->answer, sizeof(child->answer));
}

static void
fail_to_start(Child *child)
{
	dp_kms_call_fail(child->call, DP_KMS_UNAVAILABLE, ERRCODE_INSUFFICIENT_RESOURCES,
					 "The key agent could not start a process for the call.");
	child->call->transfer = NULL;
	child->call = NULL;
}

static void
start_child(Child *child)
{
	int			fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
	{
		fail_to_start(child);
		return;
	}
	child->fd = fds[0];
	child->pid = -1;
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 && dp_http_watch(fds[0]))
		child->pid = dp_child_fork();
	if (child->pid == 0)
	{
		(void) close(fds[0]);
		serve(child->call, child->job, fds[1]);
	}
	(void) close(fds[1]);
	if (child->pid < 0)
	{
		child->pid = 0;
		stop_listening(child);
		fail_to_start(child);
	}
}

/* Start it, unless it is to wait for others of its kind. */
static void
start_in_turn(Child *child)
{
	for (Child *other = children; other != NULL; other = other->next)
	{
		if (other->job == child->job && other->call != NULL && other->pid > 0 && child->job->alone())
			return;
	}
	start_child(child);
}

void
dp_child_begin(DpKmsCall *call, const DpChildJob *job)
{
	Child	   *child = calloc(1, sizeof(*child));

	Assert(job->kept_len <= DP_CHILD_KEPT_MAX);
	if (child == NULL)
	{
		dp_kms_call_fail(call, DP_KMS_UNAVAILABLE, ERRCODE_OUT_OF_MEMORY, "The key agent is out of memory.");
		return;
	}
	(void) mlock(&child->answer, sizeof(child->answer));
	child->call = call;
	child->job = job;
	child->fd = -1;
	child->next = children;
	children = child;
	call->transfer = child;
	start_in_turn(child);
}

void
dp_child_cancel(DpKmsCall *call)
{
	Child	   *child = call->transfer;

	call->transfer = NULL;
	child->call = NULL;
	stop_listening(child);
	if (child->pid > 0)
		(void) kill(child->pid, SIGKILL);
}

/* Whoever wrote it has run a module of others, which may have written anything. */
static bool
is_sound(const Answer *answer)
{
	return answer->status >= DP_KMS_OK && answer->status <= DP_KMS_REFUSED &&
		answer->blob.len >= 0 && answer->blob.len <= DP_KMS_BLOB_MAX &&
		(int) answer->signature.algorithm >= DP_SIGNATURE_NONE && answer->signature.algorithm <= DP_SIGNATURE_ECDSA_SHA512 &&
		answer->signature.public_key_len >= 0 && answer->signature.public_key_len <= DP_KMS_PUBLIC_KEY_MAX &&
		answer->signature.len >= 0 && answer->signature.len <= DP_KMS_SIGNATURE_MAX &&
		(int) answer->root.state >= DP_KMS_ROOT_UNKNOWN && answer->root.state <= DP_KMS_ROOT_DELETED &&
		memchr(answer->root.uri, '\0', sizeof(answer->root.uri)) != NULL;
}

static void
take_answer(Child *child)
{
	const Answer *answer = &child->answer;
	DpKmsCall  *call = child->call;

	call->status = answer->status;
	call->sqlstate = answer->sqlstate;
	memcpy(call->detail, answer->detail, sizeof(call->detail));
	call->detail[sizeof(call->detail) - 1] = '\0';
	memcpy(call->key, answer->key, DP_KEY_LEN);
	call->blob = answer->blob;
	*call->signature = answer->signature;
	*call->root = answer->root;
	memcpy(child->job->kept, answer->kept, child->job->kept_len);
}

/* What has come so far; ends the call with the last byte, or where none will come. */
static void
listen_to(Child *child)
{
	ssize_t		n;

	do
	{
		n = read(child->fd, (char *) &child->answer + child->received, sizeof(child->answer) - child->received);
		child->received += Max(n, 0);
	} while (n > 0 && child->received < sizeof(child->answer));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (child->received == sizeof(child->answer) && is_sound(&child->answer))
		take_answer(child);
	if (child->call->status == DP_KMS_PENDING)
		dp_kms_call_fail(child->call, DP_KMS_UNAVAILABLE, ERRCODE_CONNECTION_FAILURE,
						 "The process that served the call ended without an answer.");
	child->call->transfer = NULL;
	child->call = NULL;
	stop_listening(child);
}

int
dp_child_timeout(void)
{
	return children != NULL ? REAP_MS : -1;
}

void
dp_child_perform(void)
{
	Child	  **place = &children;

	while (*place != NULL)
	{
		Child	   *child = *place;

		if (child->call != NULL && child->pid > 0)
			listen_to(child);
		else if (child->call != NULL)
			start_in_turn(child);
		if (child->call == NULL && (child->pid == 0 || waitpid(child->pid, NULL, WNOHANG) != 0))
		{
			*place = child->next;
			(void) munlock(&child->answer, sizeof(child->answer));
			free(child);
		}
		else
			place = &child->next;
	}
}
