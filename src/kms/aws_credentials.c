/*
 * aws_credentials.c
 *	  Credentials for AWS; see the header for where they come from.
 */
#include "postgres.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "kms/aws_credentials.h"

#define FILE_MAX_LEN (64 * 1024)

static DpAwsCredentials credentials;
static bool from_environment = false;

/* The file that credentials was read from, as it was then. */
static struct stat file_seen;
static bool file_loaded = false;

/* Move one variable out of the environment into a buffer. */
static void
take_variable(const char *name, char *out, Size out_size)
{
	char	   *value = getenv(name);

	if (value == NULL)
		return;
	if (strlcpy(out, value, out_size) >= out_size)
		dp_secret_wipe(out, out_size);
	dp_secret_wipe(value, strlen(value));
	unsetenv(name);
}

void
dp_aws_credentials_init(void)
{
	memset(&credentials, 0, sizeof(credentials));
	take_variable("AWS_ACCESS_KEY_ID", credentials.access_key, sizeof(credentials.access_key));
	take_variable("AWS_SECRET_ACCESS_KEY", credentials.secret_key, sizeof(credentials.secret_key));
	take_variable("AWS_SESSION_TOKEN", credentials.session_token, sizeof(credentials.session_token));
	from_environment = credentials.access_key[0] != '\0' && credentials.secret_key[0] != '\0';
	if (!from_environment)
		dp_secret_wipe(&credentials, sizeof(credentials));
}

/* Path of the credentials file; false where the user has no home. */
static bool
find_file(char *out, Size out_size)
{
	const char *path = getenv("AWS_SHARED_CREDENTIALS_FILE");
	const char *home = getenv("HOME");

	if (path != NULL && path[0] != '\0')
		return strlcpy(out, path, out_size) < out_size;
	if (home == NULL || home[0] == '\0')
	{
		struct passwd *user = getpwuid(geteuid());

		home = user ? user->pw_dir : NULL;
	}
	return home != NULL && snprintf(out, out_size, "%s/.aws/credentials", home) < out_size;
}

/* The text between white space, in place. */
static char *
trim(char *text)
{
	Size		len;

	text += strspn(text, " \t\r");
	len = strlen(text);
	while (len > 0 && strchr(" \t\r", text[len - 1]) != NULL)
		text[--len] = '\0';
	return text;
}

/* Read profile's three settings out of an INI text, which is cut up in place. */
static void
parse_file(char *text, const char *profile, DpAwsCredentials *out)
{
	bool		in_profile = false;
	char	   *rest = text;
	char	   *line;

	while ((line = strsep(&rest, "\n")) != NULL)
	{
		char	   *equals;

		line = trim(line);
		if (line[0] == '[')
		{
			char	   *end = strchr(line, ']');

			if (end != NULL)
				*end = '\0';
			in_profile = end != NULL && strcmp(trim(line + 1), profile) == 0;
			continue;
		}
		equals = strchr(line, '=');
		if (!in_profile || line[0] == '#' || line[0] == ';' || equals == NULL)
			continue;
		*equals = '\0';
		line = trim(line);
		if (strcmp(line, "aws_access_key_id") == 0)
			strlcpy(out->access_key, trim(equals + 1), sizeof(out->access_key));
		else if (strcmp(line, "aws_secret_access_key") == 0)
			strlcpy(out->secret_key, trim(equals + 1), sizeof(out->secret_key));
		else if (strcmp(line, "aws_session_token") == 0)
			strlcpy(out->session_token, trim(equals + 1), sizeof(out->session_token));
	}
}

/* The whole file into buf, NUL-terminated; false where it does not fit or fails. */
static bool
read_whole(int fd, char *buf, Size buf_size)
{
	Size		len = 0;

	for (;;)
	{
		ssize_t		n = read(fd, buf + len, buf_size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || len + n == buf_size - 1)
			return false;
		if (n == 0)
			break;
		len += n;
	}
	buf[len] = '\0';
	return true;
}

static bool
load_file(int fd, const struct stat *st, const char **out_problem)
{
	const char *profile = getenv("AWS_PROFILE");
	char	   *text = malloc(FILE_MAX_LEN);

	dp_secret_wipe(&credentials, sizeof(credentials));
	file_loaded = false;
	if (text == NULL)
	{
		*out_problem = "The key agent is out of memory.";
		return false;
	}

	if (!S_ISREG(st->st_mode) || !read_whole(fd, text, FILE_MAX_LEN))
		*out_problem = "The file of AWS credentials cannot be read.";
	else
	{
		parse_file(text, profile && profile[0] ? profile : "default", &credentials);
		file_loaded = credentials.access_key[0] != '\0' && credentials.secret_key[0] != '\0';
		if (!file_loaded)
			*out_problem = "The file of AWS credentials has no complete profile of the name wanted.";
	}
	dp_secret_wipe(text, FILE_MAX_LEN);
	free(text);

	if (file_loaded && (st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the file of AWS credentials is accessible to group or others"),
				 errhint("Give it permissions 0600.")));
	return file_loaded;
}

const DpAwsCredentials *
dp_aws_credentials_get(const char **out_problem)
{
	char		path[MAXPGPATH];
	struct stat st;
	bool		usable;
	int			fd;

	if (from_environment)
		return &credentials;

	if (!find_file(path, sizeof(path)) ||
		(fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) < 0)
	{
		*out_problem = "The key agent found no AWS credentials in its environment or in a credentials file.";
		return NULL;
	}
	if (fstat(fd, &st) != 0)
	{
		close(fd);
		*out_problem = "The file of AWS credentials cannot be read.";
		return NULL;
	}
	usable = file_loaded &&
		st.st_dev == file_seen.st_dev && st.st_ino == file_seen.st_ino &&
		st.st_size == file_seen.st_size &&
		st.st_mtim.tv_sec == file_seen.st_mtim.tv_sec &&
		st.st_mtim.tv_nsec == file_seen.st_mtim.tv_nsec;
	if (!usable)
	{
		usable = load_file(fd, &st, out_problem);
		file_seen = st;
	}
	close(fd);
	return usable ? &credentials : NULL;
}
