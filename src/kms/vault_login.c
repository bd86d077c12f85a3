/*
 * vault_login.c
 *	  Tokens for Vault as they are fetched, kept and renewed; see the header.
 *
 * One request at a time.  A renewal that fails is followed by a login; a login that
 * fails leaves the token of now until its end, and is not repeated before a pause.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/guc.h"
#include "base/secret.h"
#include "common/pg_prng.h"
#include "kms/kms_shmem.h"
#include "kms/reply.h"
#include "kms/secret_file.h"
#include "kms/vault_login.h"

#define TOKEN_MAX		1024
#define SECRET_MAX		(16 * 1024)
#define BODY_MAX		(SECRET_MAX + 1024)
#define PAUSE_MS		1000	/* after a login that failed, and half as much again at random */
#define REFUSED_MS		60000	/* a refused token is thrown away so often */
#define FOREVER			INT64CONST(0x7fffffffffffffff)
#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount/token"

typedef enum Method
{
	METHOD_FILE,
	METHOD_APPROLE,
	METHOD_KUBERNETES,
	METHOD_CERT,
	METHOD_UNKNOWN
} Method;

DpKmsParking dp_vault_parking;

/* the token of now; times are monotonic */
static char header[TOKEN_MAX + 32];
static bool logged_in = false;
static bool renewable;
static int64 expires_at;
static int64 renew_at;
static int64 first_life;		/* of the login: a renewal to much less is near the end */

/* the request under way */
static DpHttpTransfer *request_under_way = NULL;
static bool renewing;
static char *body = NULL;

/* of the last login that failed */
static char problem[256];
static DpVaultState problem_state;
static int64 pause_until = 0;

static int64 refused_at = -REFUSED_MS;

static void log_in(void);

/* The method, and the mount that it has there, of letters, digits, - _ and /. */
static Method
method_of(char *out_mount, Size out_size)
{
	static const char *const names[] = {
		[METHOD_APPROLE] = "approle",[METHOD_KUBERNETES] = "kubernetes",[METHOD_CERT] = "cert"
	};
	const char *login = dp_guc_kms_vault_login;
	Size		len;

	if (login == NULL || login[0] == '\0')
		return METHOD_FILE;
	len = strcspn(login, ":");
	for (int i = METHOD_APPROLE; i <= METHOD_CERT; i++)
	{
		const char *mount = login[len] == ':' ? login + len + 1 : names[i];

		if (strlen(names[i]) != len || memcmp(login, names[i], len) != 0)
			continue;
		if (mount[0] == '\0' || strlen(mount) >= out_size || mount[0] == '/' ||
			strspn(mount, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/") != strlen(mount))
			break;
		strlcpy(out_mount, mount, out_size);
		return i;
	}
	return METHOD_UNKNOWN;
}

const char *
dp_vault_namespace(void)
{
	static char line[256];

	if (dp_guc_kms_vault_namespace == NULL || dp_guc_kms_vault_namespace[0] == '\0')
		return NULL;
	snprintf(line, sizeof(line), "X-Vault-Namespace: %s", dp_guc_kms_vault_namespace);
	return line;
}

const char *
dp_vault_client_cert(void)
{
	return dp_guc_kms_vault_client_cert != NULL && dp_guc_kms_vault_client_cert[0] != '\0' ?
		dp_guc_kms_vault_client_cert : NULL;
}

bool
dp_vault_url(const char *path, char *out, Size out_size, bool *out_loopback, const char **out_problem)
{
	const char *address = dp_guc_kms_vault_address;

	if (address == NULL || address[0] == '\0' || !dp_kms_endpoint_valid(address, out_loopback))
	{
		*out_problem = "The setting dataprotect.kms_vault_address must be https://HOST[:PORT], or http:// with a loopback address.";
		return false;
	}
	snprintf(out, out_size, "%s%sv1/%s", address, address[strlen(address) - 1] == '/' ? "" : "/", path);
	return true;
}

/* ---- secrets in files ---- */

/* One line that may stand in a header and in JSON as it is. */
static bool
is_plain(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
	{
		if (*p <= ' ' || *p >= 0x7f || *p == '"' || *p == '\\')
			return false;
	}
	return text[0] != '\0';
}

/* A secret file's one line; false: problem is set. */
static bool
read_secret(const char *path, const char *what, char *out, int out_size)
{
	DpKmsCall	call = {0};
	int			len;

	if (path == NULL || path[0] != '/')
	{
		strlcpy(problem, "The setting dataprotect.kms_vault_token_file must be the absolute path of a file.", sizeof(problem));
		return false;
	}
	len = dp_secret_file_read(&call, path, what, (uint8 *) out, 1, out_size - 1);
	if (len < 0)
	{
		strlcpy(problem, call.detail, sizeof(problem));
		return false;
	}
	while (len > 0 && (out[len - 1] == '\n' || out[len - 1] == '\r'))
		len--;
	out[len] = '\0';
	if (strlen(out) == len && is_plain(out))
		return true;
	dp_secret_wipe(out, out_size);
	snprintf(problem, sizeof(problem), "The %s does not hold one token.", what);
	return false;
}

/* Kubernetes puts a link to a file that others of the pod may read: no secret file of ours. */
static bool
read_service_account(const char *path, char *out, int out_size)
{
	int			fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	ssize_t		n = -1;

	if (fd >= 0)
	{
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < out_size)
			n = read(fd, out, out_size - 1);
		close(fd);
	}
	out[Max(n, 0)] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
	if (is_plain(out))
		return true;
	strlcpy(problem, "The file of the service account's token cannot be read, or holds none.", sizeof(problem));
	return false;
}

/* ---- the end of a request ---- */

static void
end_request(void)
{
	if (body != NULL)
		dp_secret_wipe(body, BODY_MAX);
	free(body);
	body = NULL;
}

static void
fail(DpVaultState state)
{
	problem_state = state;
	pause_until = dp_kms_now() + PAUSE_MS + pg_prng_uint64_range(&pg_global_prng_state, 0, PAUSE_MS / 2);
	end_request();
	dp_kms_transfer_resume(&dp_vault_parking);
}

/* Take a token over; seconds 0: it has no end. */
static void
accept_token(const char *token, int64 seconds, bool can_renew)
{
	int64		now = dp_kms_now();

	if (token != NULL)
		snprintf(header, sizeof(header), "X-Vault-Token: %s", token);
	if (!renewing)
		first_life = seconds;
	logged_in = true;
	/* One that is renewed to less than half of what it had comes to its greatest age. */
	renewable = can_renew && seconds >= first_life / 2;
	expires_at = seconds == 0 ? FOREVER : now + seconds * 1000;
	renew_at = seconds == 0 ? FOREVER : now + seconds * 1000 / 3 * 2;
	end_request();
	dp_kms_transfer_resume(&dp_vault_parking);
}

static void
on_done(DpHttpTransfer *http, void *arg)
{
	DpKmsMember wanted[] = {{.path = "auth.client_token"}, {.path = "auth.lease_duration"}, {.path = "auth.renewable"}};
	const char *trouble;
	char	   *text;
	Size		len;
	long		status = dp_http_result(http, &text, &len, &trouble);
	const char *token = NULL;
	int64		seconds = -1;

	request_under_way = NULL;
	if (status == 200 && dp_kms_reply_parse(text, len, wanted, lengthof(wanted)))
	{
		token = wanted[0].value;
		seconds = wanted[1].value != NULL ? strtoll(wanted[1].value, NULL, 10) : -1;
	}
	if (token != NULL && is_plain(token) && strlen(token) < TOKEN_MAX && seconds >= 0 && seconds < INT_MAX)
		accept_token(token, seconds, wanted[2].value != NULL && strcmp(wanted[2].value, "true") == 0);
	else if (renewing)
	{
		end_request();
		log_in();
	}
	else
	{
		if (status == 0)
			snprintf(problem, sizeof(problem), "Vault could not be asked: %s.", trouble);
		else if (status == 200)
			snprintf(problem, sizeof(problem), "Vault's answer to the login holds no token.");
		else
			snprintf(problem, sizeof(problem), "Vault returned HTTP status %ld to the login.", status);
		fail(status == 0 || status == 429 || status >= 500 ? DP_VAULT_UNREACHABLE : DP_VAULT_NONE);
	}
	dp_http_free(http);
}

/* ---- requests ---- */

static void
send_login(const char *path, bool with_token)
{
	DpHttpRequest request = {0};
	const char *headers[5] = {"Content-Type: application/json", "X-Vault-Request: true", NULL, NULL, NULL};
	const char *trouble;
	char		url[3 * DP_KMS_URI_MAX];
	int			n = 2;

	renewing = with_token;
	if (!dp_vault_url(path, url, sizeof(url), &request.loopback, &trouble))
	{
		strlcpy(problem, trouble, sizeof(problem));
		fail(DP_VAULT_NONE);
		return;
	}
	if (with_token)
		headers[n++] = header;
	headers[n] = dp_vault_namespace();
	request.url = url;
	request.headers = headers;
	request.client_cert = dp_vault_client_cert();
	request.body = body;
	request.body_len = strlen(body);
	request.timeout_ms = dp_guc_kms_timeout;
	request.done = on_done;
	request_under_way = dp_http_start(&request);
	if (request_under_way == NULL)
	{
		strlcpy(problem, "The HTTP client could not be started.", sizeof(problem));
		fail(DP_VAULT_UNREACHABLE);
	}
}

/* What is sent to log in; false: problem is set. */
static bool
build_login(Method method)
{
	const char *path = dp_guc_kms_vault_token_file;
	const char *role = dp_guc_kms_vault_role != NULL ? dp_guc_kms_vault_role : "";
	char	   *secret = body + BODY_MAX - SECRET_MAX;	/* moved to its place below */
	char	   *copy;

	if ((role[0] != '\0' && !is_plain(role)) || (role[0] == '\0' && method != METHOD_CERT) || strlen(role) > 512)
	{
		strlcpy(problem, "The setting dataprotect.kms_vault_role must be the role to log in as.", sizeof(problem));
		return false;
	}
	if (method == METHOD_CERT)
	{
		snprintf(body, BODY_MAX, role[0] != '\0' ? "{\"name\":\"%s\"}" : "{}", role);
		return true;
	}
	if (method == METHOD_KUBERNETES && (path == NULL || path[0] == '\0'))
		path = SERVICE_ACCOUNT;
	if (!(method == METHOD_APPROLE ? read_secret(path, "file of the secret id", secret, SECRET_MAX) :
		  read_service_account(path, secret, SECRET_MAX)))
		return false;
	copy = strdup(secret);
	if (copy == NULL)
	{
		strlcpy(problem, "The key agent is out of memory.", sizeof(problem));
		return false;
	}
	snprintf(body, BODY_MAX, method == METHOD_APPROLE ? "{\"role_id\":\"%s\",\"secret_id\":\"%s\"}" :
			 "{\"role\":\"%s\",\"jwt\":\"%s\"}", role, copy);
	dp_secret_wipe(copy, strlen(copy));
	free(copy);
	return true;
}

static void
log_in(void)
{
	char		mount[128];
	char		path[160];
	Method		method = method_of(mount, sizeof(mount));

	renewing = false;
	body = calloc(1, BODY_MAX);
	if (body == NULL)
	{
		strlcpy(problem, "The key agent is out of memory.", sizeof(problem));
		fail(DP_VAULT_UNREACHABLE);
	}
	else if (build_login(method))
	{
		snprintf(path, sizeof(path), "auth/%s/login", mount);
		send_login(path, false);
	}
	else
		fail(DP_VAULT_NONE);
}

static void
renew(void)
{
	body = calloc(1, BODY_MAX);
	if (body == NULL)
		return;
	strlcpy(body, "{}", BODY_MAX);
	send_login("auth/token/renew-self", true);
}

/* ---- what the provider asks ---- */

static DpVaultState
token_of_file(const char **out_header, const char **out_problem)
{
	char		token[TOKEN_MAX];
	bool		ok = read_secret(dp_guc_kms_vault_token_file, "token file", token, sizeof(token));

	if (ok)
		snprintf(header, sizeof(header), "X-Vault-Token: %s", token);
	dp_secret_wipe(token, sizeof(token));
	*out_header = header;
	*out_problem = problem;
	return ok ? DP_VAULT_READY : DP_VAULT_NONE;
}

DpVaultState
dp_vault_token(const char **out_header, const char **out_problem)
{
	char		mount[128];
	int64		now = dp_kms_now();

	switch (method_of(mount, sizeof(mount)))
	{
		case METHOD_FILE:
			return token_of_file(out_header, out_problem);
		case METHOD_UNKNOWN:
			*out_problem = "The setting dataprotect.kms_vault_login must be approle, kubernetes or cert, or one of them with a mount behind a colon.";
			return DP_VAULT_NONE;
		case METHOD_APPROLE:
		case METHOD_KUBERNETES:
		case METHOD_CERT:
			break;
	}
	if (request_under_way == NULL && now >= pause_until && (!logged_in || now >= renew_at))
	{
		if (logged_in && renewable && now < expires_at)
			renew();
		else
			log_in();
	}
	if (logged_in && now < expires_at)
	{
		*out_header = header;
		return DP_VAULT_READY;
	}
	if (request_under_way != NULL)
		return DP_VAULT_FETCHING;
	*out_problem = problem;
	return problem_state;
}

bool
dp_vault_token_refused(void)
{
	char		mount[128];
	int64		now = dp_kms_now();

	/* Where it was the right that lacks, and not the token, a login for each call would not help. */
	if (method_of(mount, sizeof(mount)) == METHOD_FILE || now < refused_at + REFUSED_MS)
		return false;
	refused_at = now;
	logged_in = false;
	dp_secret_wipe(header, sizeof(header));
	return true;
}

int64
dp_vault_token_expiry(void)
{
	char		mount[128];

	if (!logged_in || expires_at == FOREVER || method_of(mount, sizeof(mount)) == METHOD_FILE)
		return 0;
	return (int64) time(NULL) + (expires_at - dp_kms_now()) / 1000;
}
