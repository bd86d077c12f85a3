/*
 * aws_credentials.c
 *	  Credentials for AWS as they are fetched, kept and renewed; see the header.
 *
 *		start_fetch --> base: keys, or STS by web identity, or container,
 *						or instance (token, name of the role, keys)
 *					--> AssumeRole for each role of the plan, the last first
 *					--> finish: the new ones are those of now; who waited goes on
 *
 * One fetch at a time.  Where it fails, the credentials of now go on until they
 * expire, and the next fetch is not begun before a pause.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/guc.h"
#include "base/secret.h"
#include "common/pg_prng.h"
#include "kms/aws_credentials.h"
#include "kms/aws_plan.h"
#include "kms/aws_process.h"
#include "kms/kms_shmem.h"

#define BODY_MAX			(64 * 1024)
#define TOKEN_FILE_MAX		(16 * 1024)
#define PAUSE_MS			1000	/* after a fetch that failed, and half as much again at random */
#define REFUSED_SECONDS		60
#define LEAD_SECONDS		900 /* before expiry; a quarter of a shorter life */
#define METADATA_TIMEOUT_MS 1000
#define METADATA_ENDPOINT	"http://169.254.169.254"
#define CONTAINER_ENDPOINT	"http://169.254.170.2"
#define ROLES_PATH			"/latest/meta-data/iam/security-credentials/"

typedef enum Phase
{
	PHASE_WEB_IDENTITY,
	PHASE_PROCESS,
	PHASE_CONTAINER,
	PHASE_INSTANCE_TOKEN,
	PHASE_INSTANCE_ROLE,
	PHASE_INSTANCE_KEYS,
	PHASE_ROLE
} Phase;

DpKmsParking dp_aws_credentials_parking;

static DpAwsPlan plan;
static bool planned = false;

static DpAwsCredentials current;	/* secret_key "": none */
static int64 refresh_at;		/* seconds since 1970 */
static int64 refused_at = 0;	/* seconds since 1970 */

/* the fetch under way */
static DpHttpTransfer *fetch = NULL;
static bool running = false;	/* a program, in its place */
static Phase phase;
static int	role;				/* of the plan, being assumed */
static DpAwsCredentials next;
static char *body = NULL;		/* BODY_MAX bytes while fetching */
static char metadata_token[512];	/* as a header */

/* of the last one that failed */
static char problem[256];
static DpAwsState problem_state;
static int64 pause_until = 0;	/* monotonic */

static char container_token[2048];	/* of the environment */

static void on_done(DpHttpTransfer *http, void *arg);

void
dp_aws_credentials_init(void)
{
	char	   *token = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");

	dp_aws_plan_init();
	if (token != NULL)
	{
		if (strlcpy(container_token, token, sizeof(container_token)) >= sizeof(container_token))
			dp_secret_wipe(container_token, sizeof(container_token));
		dp_secret_wipe(token, strlen(token));
		unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	}
}

/* ---- the end of a fetch ---- */

static void
end_fetch(void)
{
	if (body != NULL)
		dp_secret_wipe(body, BODY_MAX);
	free(body);
	body = NULL;
	dp_secret_wipe(&next, sizeof(next));
	dp_secret_wipe(metadata_token, sizeof(metadata_token));
}

static void
finish(void)
{
	int64		now = (int64) time(NULL);

	current = next;
	refresh_at = current.expires_at - Min(LEAD_SECONDS, Max(0, current.expires_at - now) / 4);
	end_fetch();
	dp_kms_transfer_resume(&dp_aws_credentials_parking);
}

static void
			fail(DpAwsState state, const char *format,...) pg_attribute_printf(2, 3);

static void
fail(DpAwsState state, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(problem, sizeof(problem), format, args);
	va_end(args);
	problem_state = state;
	pause_until = dp_kms_now() + PAUSE_MS + pg_prng_uint64_range(&pg_global_prng_state, 0, PAUSE_MS / 2);
	end_fetch();
	dp_kms_transfer_resume(&dp_aws_credentials_parking);
}

/* ---- requests ---- */

static void
send_fetch(Phase which, DpHttpRequest *request, int timeout_ms)
{
	static const char *const none[] = {NULL};

	phase = which;
	if (request->headers == NULL)
		request->headers = none;
	request->body = body;
	request->body_len = strlen(body);
	request->timeout_ms = Min(timeout_ms, dp_guc_kms_timeout);
	request->done = on_done;
	fetch = dp_http_start(request);
	if (fetch == NULL)
		fail(DP_AWS_UNREACHABLE, "The HTTP client could not be started.");
}

/* Append to the form in body; false where it does not fit. */
static bool
add_field(const char *name, const char *value)
{
	static const char hex[] = "0123456789ABCDEF";
	Size		len = strlen(body);

	if (len + strlen(name) + 3 * strlen(value) + 3 > BODY_MAX)
		return false;
	len += snprintf(body + len, BODY_MAX - len, "%s%s=", len > 0 ? "&" : "", name);
	for (; *value != '\0'; value++)
	{
		unsigned char c = (unsigned char) *value;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-_.~", c) != NULL)
			body[len++] = c;
		else
		{
			body[len++] = '%';
			body[len++] = hex[c >> 4];
			body[len++] = hex[c & 15];
		}
	}
	body[len] = '\0';
	return true;
}

/* The form of a role; false where it does not fit. */
static bool
build_form(const char *action, const DpAwsRole *of, const char *token)
{
	body[0] = '\0';
	return add_field("Action", action) && add_field("Version", "2011-06-15") &&
		add_field("RoleArn", of->arn) && add_field("RoleSessionName", of->session_name) &&
		(of->external_id[0] == '\0' || add_field("ExternalId", of->external_id)) &&
		(token == NULL || add_field("WebIdentityToken", token));
}

/* To STS, signed by next unless that has no keys yet. */
static void
ask_sts(Phase which)
{
	const char *own = getenv("AWS_ENDPOINT_URL_STS");
	const char *region = plan.region[0] != '\0' ? plan.region : "us-east-1";
	DpHttpRequest request = {0};
	char		url[DP_KMS_URI_MAX];
	char		sigv4[128];
	char		token[sizeof(next.session_token) + 32];
	const char *headers[3] = {"Content-Type: application/x-www-form-urlencoded", NULL, NULL};

	if (strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(region))
	{
		fail(DP_AWS_NONE, "The AWS region of the environment or the profile is none.");
		return;
	}
	if (own != NULL && own[0] != '\0')
	{
		if (!dp_kms_endpoint_valid(own, &request.loopback))
		{
			fail(DP_AWS_NONE, "AWS_ENDPOINT_URL_STS must be https://HOST[:PORT], or http:// with a loopback address.");
			return;
		}
		snprintf(url, sizeof(url), "%s%s", own, own[strlen(own) - 1] == '/' ? "" : "/");
	}
	else if (plan.region[0] == '\0')
		strlcpy(url, "https://sts.amazonaws.com/", sizeof(url));
	else
		snprintf(url, sizeof(url), "https://sts.%s.amazonaws.com%s/", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");

	if (next.secret_key[0] != '\0')
	{
		snprintf(sigv4, sizeof(sigv4), "aws:amz:%s:sts", region);
		request.sigv4 = sigv4;
		request.access_key = next.access_key;
		request.secret_key = next.secret_key;
		if (next.session_token[0] != '\0')
		{
			snprintf(token, sizeof(token), "X-Amz-Security-Token: %s", next.session_token);
			headers[1] = token;
		}
	}
	request.url = url;
	request.headers = headers;
	send_fetch(which, &request, INT_MAX);
	dp_secret_wipe(token, sizeof(token));
}

/* The base is there, or a role: the next role, or all is done. */
static void
assume_next(void)
{
	if (role == 0)
	{
		finish();
		return;
	}
	role--;
	if (build_form("AssumeRole", &plan.roles[role], NULL))
		ask_sts(PHASE_ROLE);
	else
		fail(DP_AWS_NONE, "The AWS profile has settings that are too long.");
}

/* A token of a file, on one line; false where there is none. */
static bool
read_token_file(const char *path, char *out, Size out_size)
{
	int			fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	ssize_t		n = -1;

	/* Kubernetes puts a link here to what others of the pod may read: no secret file of ours. */
	if (fd >= 0)
	{
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < (off_t) out_size)
			n = read(fd, out, out_size - 1);
		close(fd);
	}
	if (n <= 0)
		return false;
	out[n] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
	for (const char *p = out; *p != '\0'; p++)
	{
		if (*p <= ' ' || *p >= 0x7f)
			return false;
	}
	return out[0] != '\0';
}

static void
ask_web_identity(void)
{
	char	   *token = malloc(TOKEN_FILE_MAX);
	bool		there = token != NULL && read_token_file(plan.token_file, token, TOKEN_FILE_MAX);
	bool		built = there && build_form("AssumeRoleWithWebIdentity", &plan.web, token);

	if (token != NULL)
		dp_secret_wipe(token, TOKEN_FILE_MAX);
	free(token);
	if (built)
		ask_sts(PHASE_WEB_IDENTITY);
	else
		fail(DP_AWS_NONE, "The file of the AWS web identity token cannot be read, or holds none.");
}

/* https, or http to loopback or to an address that Amazon gives to a container or an instance. */
static bool
endpoint_allowed(const char *url, bool *out_plain)
{
	static const char *const local[] = {
		"http://169.254.169.254", "http://[fd00:ec2::254]",
		"http://169.254.170.2", "http://169.254.170.23", "http://[fd00:ec2::23]"
	};
	const char *authority = strstr(url, "://");
	char		endpoint[256];
	Size		len;

	if (authority == NULL)
		return false;
	len = (authority - url) + 3 + strcspn(authority + 3, "/?#");
	if (len >= sizeof(endpoint))
		return false;
	memcpy(endpoint, url, len);
	endpoint[len] = '\0';
	for (int i = 0; i < lengthof(local); i++)
	{
		if (strcmp(endpoint, local[i]) == 0)
			return *out_plain = true;
	}
	return dp_kms_endpoint_valid(endpoint, out_plain);
}

static void
ask_container(void)
{
	const char *relative = getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	const char *token_file = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	DpHttpRequest request = {.method = "GET"};
	char		url[1024];
	char		token[TOKEN_FILE_MAX];
	char		header[TOKEN_FILE_MAX + 32];
	const char *headers[2] = {NULL, NULL};

	if (relative != NULL && relative[0] != '\0')
		snprintf(url, sizeof(url), "%s%s%s", CONTAINER_ENDPOINT, relative[0] == '/' ? "" : "/", relative);
	else
		strlcpy(url, full, sizeof(url));
	strlcpy(token, container_token, sizeof(token));
	if (token_file != NULL && token_file[0] != '\0' && !read_token_file(token_file, token, sizeof(token)))
		fail(DP_AWS_NONE, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read, or holds no token.");
	else if (!endpoint_allowed(url, &request.loopback))
		fail(DP_AWS_NONE, "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or an address of the machine or of Amazon's container agents.");
	else
	{
		if (token[0] != '\0')
		{
			snprintf(header, sizeof(header), "Authorization: %s", token);
			headers[0] = header;
		}
		request.url = url;
		request.headers = headers;
		send_fetch(PHASE_CONTAINER, &request, INT_MAX);
	}
	dp_secret_wipe(token, sizeof(token));
	dp_secret_wipe(header, sizeof(header));
}

static void
ask_instance(Phase which, const char *method, const char *path, const char *name)
{
	const char *endpoint = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	DpHttpRequest request = {.method = method};
	char		url[1024];
	Size		len;
	const char *headers[2] = {which == PHASE_INSTANCE_TOKEN ? "X-aws-ec2-metadata-token-ttl-seconds: 21600" : metadata_token, NULL};

	if (endpoint == NULL || endpoint[0] == '\0')
		endpoint = METADATA_ENDPOINT;
	len = strlen(endpoint);
	if (endpoint[len - 1] == '/')
		len--;
	snprintf(url, sizeof(url), "%.*s%s%s", (int) len, endpoint, path, name);
	if (!endpoint_allowed(url, &request.loopback))
	{
		fail(DP_AWS_NONE, "AWS_EC2_METADATA_SERVICE_ENDPOINT must be https, or an address of the machine or of Amazon's metadata.");
		return;
	}
	request.url = url;
	request.headers = headers;
	send_fetch(which, &request, METADATA_TIMEOUT_MS);
}

static void
start_fetch(void)
{
	body = calloc(1, BODY_MAX);
	if (body == NULL)
	{
		fail(DP_AWS_UNREACHABLE, "The key agent is out of memory.");
		return;
	}
	memset(&next, 0, sizeof(next));
	role = plan.n_roles;
	switch (plan.base)
	{
		case DP_AWS_BASE_KEYS:
			next = plan.keys;
			assume_next();
			break;
		case DP_AWS_BASE_WEB_IDENTITY:
			ask_web_identity();
			break;
		case DP_AWS_BASE_PROCESS:
			phase = PHASE_PROCESS;
			running = dp_aws_process_start(plan.process, dp_guc_kms_timeout);
			if (!running)
				fail(DP_AWS_UNREACHABLE, "credential_process of the AWS profile could not be started.");
			break;
		case DP_AWS_BASE_CONTAINER:
			ask_container();
			break;
		case DP_AWS_BASE_INSTANCE:
			ask_instance(PHASE_INSTANCE_TOKEN, "PUT", "/latest/api/token", "");
			break;
		case DP_AWS_BASE_NONE:
			break;
	}
}

/* ---- replies ---- */

/* One line of letters that a header or a path may hold. */
static bool
is_line(char *text, const char *more)
{
	text[strcspn(text, "\r\n")] = '\0';
	for (const char *p = text; *p != '\0'; p++)
	{
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr(more, *p) != NULL))
			return false;
	}
	return text[0] != '\0' && strlen(text) <= 400;
}

static const char *
phase_name(void)
{
	switch (phase)
	{
		case PHASE_WEB_IDENTITY:
			return "STS (AssumeRoleWithWebIdentity)";
		case PHASE_ROLE:
			return "STS (AssumeRole)";
		case PHASE_PROCESS:
			return "credential_process of the AWS profile";
		case PHASE_CONTAINER:
			return "The container's endpoint of AWS credentials";
		case PHASE_INSTANCE_TOKEN:
		case PHASE_INSTANCE_ROLE:
		case PHASE_INSTANCE_KEYS:
			break;
	}
	return "The instance's metadata";
}

static void
settle_failure(long status, char *text, Size len)
{
	const char *code = phase == PHASE_ROLE || phase == PHASE_WEB_IDENTITY ? dp_aws_answer_sts_code(text, len) : NULL;
	bool		passing = status >= 500 || status == 429 ||
		(code != NULL && (strcmp(code, "Throttling") == 0 || strcmp(code, "ThrottlingException") == 0 ||
						  strcmp(code, "IDPCommunicationError") == 0));

	fail(passing ? DP_AWS_UNREACHABLE : DP_AWS_NONE, "%s returned HTTP status %ld%s%s instead of credentials.",
		 phase_name(), status, code != NULL ? ", " : "", code != NULL ? code : "");
}

static void
settle(char *text, Size len)
{
	switch (phase)
	{
		case PHASE_WEB_IDENTITY:
		case PHASE_ROLE:
			if (dp_aws_answer_sts(text, len, &next))
			{
				assume_next();
				return;
			}
			break;
		case PHASE_CONTAINER:
		case PHASE_INSTANCE_KEYS:
			if (dp_aws_answer_json(text, len, &next))
			{
				assume_next();
				return;
			}
			break;
		case PHASE_PROCESS:
			if (dp_aws_answer_process(text, len, &next))
			{
				assume_next();
				return;
			}
			break;
		case PHASE_INSTANCE_TOKEN:
			if (is_line(text, "-_=+/."))
			{
				snprintf(metadata_token, sizeof(metadata_token), "X-aws-ec2-metadata-token: %s", text);
				ask_instance(PHASE_INSTANCE_ROLE, "GET", ROLES_PATH, "");
				return;
			}
			break;
		case PHASE_INSTANCE_ROLE:
			if (is_line(text, "+=,.@_-"))
			{
				ask_instance(PHASE_INSTANCE_KEYS, "GET", ROLES_PATH, text);
				return;
			}
			break;
	}
	fail(DP_AWS_NONE, "%s returned something else than credentials.", phase_name());
}

static void
on_done(DpHttpTransfer *http, void *arg)
{
	const char *trouble;
	char	   *text;
	Size		len;
	long		status = dp_http_result(http, &text, &len, &trouble);

	/* What comes next may begin another transfer. */
	fetch = NULL;
	if (status == 200)
		settle(text, len);
	else if (status != 0)
		settle_failure(status, text, len);
	else if (phase == PHASE_INSTANCE_TOKEN && current.secret_key[0] == '\0')
		fail(DP_AWS_NONE, "The key agent found no AWS credentials: none in its environment or in files, and no instance's metadata answer (%s).", trouble);
	else
		fail(DP_AWS_UNREACHABLE, "%s could not be asked: %s.", phase_name(), trouble);
	dp_http_free(http);
}

void
dp_aws_credentials_perform(void)
{
	char	   *text;
	Size		len;
	DpAwsProcessEnd end = running ? dp_aws_process_look(&text, &len) : DP_AWS_PROCESS_NONE;

	if (end == DP_AWS_PROCESS_NONE)
		return;
	running = false;
	if (end == DP_AWS_PROCESS_LATE)
		fail(DP_AWS_UNREACHABLE, "%s did not end in time.", phase_name());
	else if (end == DP_AWS_PROCESS_FAILED)
		fail(DP_AWS_NONE, "%s could not be run, or failed.", phase_name());
	else
	{
		settle(text, len);
		dp_secret_wipe(text, len);
	}
}

int
dp_aws_credentials_timeout(void)
{
	return running ? dp_aws_process_timeout() : -1;
}

/* ---- what the provider asks ---- */

/* Another plan: nothing that came of the old one counts. */
static void
plan_anew(void)
{
	if (fetch != NULL)
		dp_http_free(fetch);
	fetch = NULL;
	dp_aws_process_cancel();
	running = false;
	end_fetch();
	dp_secret_wipe(&current, sizeof(current));
	dp_secret_wipe(&plan, sizeof(plan));
	pause_until = 0;
	dp_aws_plan_make(&plan);
	planned = true;
	/* Who waited for that fetch asks again. */
	dp_kms_transfer_resume(&dp_aws_credentials_parking);
}

DpAwsState
dp_aws_credentials_get(const DpAwsCredentials **out, const char **out_problem)
{
	int64		now = (int64) time(NULL);

	if (!planned || !dp_aws_plan_current())
		plan_anew();
	if (plan.base == DP_AWS_BASE_NONE)
	{
		*out_problem = plan.problem;
		return DP_AWS_NONE;
	}
	if (plan.base == DP_AWS_BASE_KEYS && plan.n_roles == 0)
	{
		*out = &plan.keys;
		return DP_AWS_READY;
	}
	if (fetch == NULL && !running && dp_kms_now() >= pause_until &&
		(current.secret_key[0] == '\0' || now >= refresh_at))
		start_fetch();
	if (current.secret_key[0] != '\0' && now < current.expires_at)
	{
		*out = &current;
		return DP_AWS_READY;
	}
	if (fetch != NULL || running)
		return DP_AWS_FETCHING;
	*out_problem = problem;
	return problem_state;
}

void
dp_aws_credentials_refused(void)
{
	int64		now = (int64) time(NULL);

	if (now < refused_at + REFUSED_SECONDS && now >= refused_at)
		return;
	refused_at = now;
	refresh_at = 0;
	if (fetch == NULL && !running)
		current.expires_at = 0;
}

int64
dp_aws_credentials_expiry(void)
{
	return current.secret_key[0] != '\0' ? current.expires_at : plan.keys.expires_at;
}
