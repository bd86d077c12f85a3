/*
 * aws_plan.c
 *	  Where credentials for AWS come from; see aws_credentials.h for the order.
 */
#include "postgres.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "kms/aws_plan.h"

#define FILE_MAX_LEN (256 * 1024)

typedef enum FileKind
{
	CREDENTIALS_FILE,
	CONFIG_FILE,
	N_FILES
} FileKind;

static DpAwsCredentials environment;

/* The files as they were when they were last read; st_ino 0: not there. */
static struct stat seen[N_FILES];

static const char *
get_variable(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

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
dp_aws_plan_init(void)
{
	memset(&environment, 0, sizeof(environment));
	take_variable("AWS_ACCESS_KEY_ID", environment.access_key, sizeof(environment.access_key));
	take_variable("AWS_SECRET_ACCESS_KEY", environment.secret_key, sizeof(environment.secret_key));
	take_variable("AWS_SESSION_TOKEN", environment.session_token, sizeof(environment.session_token));
	if (environment.access_key[0] == '\0' || environment.secret_key[0] == '\0')
		dp_secret_wipe(&environment, sizeof(environment));
}

/* Path of a file; false where the user has no home. */
static bool
find_path(FileKind kind, char *out, Size out_size)
{
	const char *path = get_variable(kind == CONFIG_FILE ? "AWS_CONFIG_FILE" : "AWS_SHARED_CREDENTIALS_FILE");
	const char *home = get_variable("HOME");

	if (path != NULL)
		return strlcpy(out, path, out_size) < out_size;
	if (home == NULL)
	{
		struct passwd *user = getpwuid(geteuid());

		home = user ? user->pw_dir : NULL;
	}
	return home != NULL &&
		snprintf(out, out_size, "%s/.aws/%s", home, kind == CONFIG_FILE ? "config" : "credentials") < out_size;
}

/* How a file is now; st_ino 0: not there. */
static void
look_at(FileKind kind, struct stat *out)
{
	char		path[MAXPGPATH];

	if (!find_path(kind, path, sizeof(path)) || stat(path, out) != 0)
		memset(out, 0, sizeof(*out));
}

bool
dp_aws_plan_current(void)
{
	for (int i = 0; i < N_FILES; i++)
	{
		struct stat now;

		look_at(i, &now);
		if (now.st_dev != seen[i].st_dev || now.st_ino != seen[i].st_ino || now.st_size != seen[i].st_size ||
			memcmp(&now.st_ctim, &seen[i].st_ctim, sizeof(now.st_ctim)) != 0)
			return false;
	}
	return true;
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

/* The text of a file, for the caller to wipe and free; NULL where it is not there or unfit. */
static char *
load_file(FileKind kind, bool *out_unfit, bool *out_of_others)
{
	char		path[MAXPGPATH];
	char	   *text = NULL;
	struct stat st;
	int			fd;

	if (!find_path(kind, path, sizeof(path)) ||
		(fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		text = malloc(FILE_MAX_LEN);
	if (text != NULL && !read_whole(fd, text, FILE_MAX_LEN))
	{
		dp_secret_wipe(text, FILE_MAX_LEN);
		free(text);
		text = NULL;
	}
	close(fd);
	if (text != NULL && ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0))
		*out_of_others = true;
	if (text == NULL)
		*out_unfit = true;
	else if (kind == CREDENTIALS_FILE && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the file of AWS credentials is accessible to group or others"),
				 errhint("Give it permissions 0600.")));
	return text;
}

typedef struct Files
{
	char	   *text[N_FILES];
	char	   *copy;			/* reading cuts a text up */
	bool		of_others;		/* somebody else may write one of them */
} Files;

static void
read_profile(Files *files, const char *name, DpAwsProfile *out)
{
	memset(out, 0, sizeof(*out));
	for (int i = 0; i < N_FILES; i++)
	{
		if (files->text[i] == NULL)
			continue;
		strlcpy(files->copy, files->text[i], FILE_MAX_LEN);
		dp_aws_profile_read(files->copy, name, i == CONFIG_FILE, out);
	}
}

static bool
has_keys(const DpAwsCredentials *keys)
{
	return keys->access_key[0] != '\0' && keys->secret_key[0] != '\0';
}

static void
fill_role(DpAwsRole *out, const char *arn, const char *session_name, const char *external_id)
{
	strlcpy(out->arn, arn, sizeof(out->arn));
	strlcpy(out->session_name, session_name[0] != '\0' ? session_name : "dataprotect", sizeof(out->session_name));
	strlcpy(out->external_id, external_id, sizeof(out->external_id));
}

static bool
use_web_identity(DpAwsPlan *out, const char *token_file, const char *arn, const char *session_name)
{
	if (strlcpy(out->token_file, token_file, sizeof(out->token_file)) >= sizeof(out->token_file) ||
		strlen(arn) >= sizeof(out->web.arn) || strlen(session_name) >= sizeof(out->web.session_name))
	{
		out->problem = "The role, session name or token file of AWS web identity is too long.";
		return true;
	}
	fill_role(&out->web, arn, session_name, "");
	out->base = DP_AWS_BASE_WEB_IDENTITY;
	return true;
}

static bool
use_environment(DpAwsPlan *out)
{
	if (!has_keys(&environment))
		return false;
	out->keys = environment;
	out->base = DP_AWS_BASE_KEYS;
	return true;
}

static bool
use_container(DpAwsPlan *out)
{
	if (get_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") == NULL &&
		get_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") == NULL)
		return false;
	out->base = DP_AWS_BASE_CONTAINER;
	return true;
}

static bool
use_instance(DpAwsPlan *out)
{
	const char *disabled = get_variable("AWS_EC2_METADATA_DISABLED");

	if (disabled != NULL && pg_strcasecmp(disabled, "true") == 0)
		return false;
	out->base = DP_AWS_BASE_INSTANCE;
	return true;
}

/* A role's source that is not a profile. */
static bool
use_source(DpAwsPlan *out, const char *source)
{
	out->problem = "credential_source of the AWS profile is not set up, or is none of Environment, EcsContainer and Ec2InstanceMetadata.";
	if (strcmp(source, "Environment") == 0)
		return use_environment(out);
	if (strcmp(source, "EcsContainer") == 0)
		return use_container(out);
	return strcmp(source, "Ec2InstanceMetadata") == 0 && use_instance(out);
}

/* What the file names is run: by whoever may write it, then. */
static void
use_process(DpAwsPlan *out, const Files *files, const char *command)
{
	char		text[sizeof(out->process)];
	char	   *words[65];

	strlcpy(text, command, sizeof(text));
	if (files->of_others)
		out->problem = "A file of AWS profiles with credential_process belongs to another user, or may be written by group or others.";
	else if (!dp_aws_command_split(text, words, lengthof(words) - 1) || words[0][0] != '/')
		out->problem = "credential_process of the AWS profile must be a program by its full path, and its arguments.";
	else
	{
		strlcpy(out->process, command, sizeof(out->process));
		out->base = DP_AWS_BASE_PROCESS;
	}
}

/*
 * The profile's own way, through those that it refers to.  True where the profile
 * decides, well or with a problem.
 */
static bool
use_profile(DpAwsPlan *out, Files *files, const char *first)
{
	DpAwsProfile profile;
	char		name[sizeof(profile.source_profile)];
	bool		decided = true;

	strlcpy(name, first, sizeof(name));
	for (;;)
	{
		bool		named = strcmp(name, first) != 0 || out->n_roles > 0;

		read_profile(files, name, &profile);
		if (out->region[0] == '\0')
			strlcpy(out->region, profile.region, sizeof(out->region));
		if (named && !profile.found)
		{
			out->problem = "source_profile of the AWS profile is not in the files.";
			break;
		}
		if (profile.role_arn[0] != '\0' && profile.token_file[0] == '\0' &&
			(profile.source_profile[0] != '\0' || profile.credential_source[0] != '\0'))
		{
			if (out->n_roles == DP_AWS_MAX_ROLES)
			{
				out->problem = "The AWS profiles refer to each other in a circle, or through more than five.";
				break;
			}
			fill_role(&out->roles[out->n_roles++], profile.role_arn, profile.session_name, profile.external_id);
			if (profile.source_profile[0] == '\0')
			{
				(void) use_source(out, profile.credential_source);
				break;
			}
			/* A profile that is its own source means its own keys. */
			if (strcmp(profile.source_profile, name) != 0)
			{
				strlcpy(name, profile.source_profile, sizeof(name));
				continue;
			}
			profile.role_arn[0] = '\0';
		}
		if (profile.role_arn[0] != '\0' && profile.token_file[0] != '\0')
			(void) use_web_identity(out, profile.token_file, profile.role_arn, profile.session_name);
		else if (has_keys(&profile.keys))
		{
			out->keys = profile.keys;
			out->base = DP_AWS_BASE_KEYS;
		}
		else if (profile.process[0] != '\0')
			use_process(out, files, profile.process);
		else if (named || profile.role_arn[0] != '\0')
			out->problem = "The AWS profile has neither keys nor a role with a source.";
		else
			decided = false;
		break;
	}
	dp_secret_wipe(&profile, sizeof(profile));
	return decided;
}

/* Free of the environment's keys: those were asked first. */
static void
plan_with_files(DpAwsPlan *out, Files *files)
{
	const char *name = get_variable("AWS_PROFILE");
	const char *token_file = get_variable("AWS_WEB_IDENTITY_TOKEN_FILE");
	const char *arn = get_variable("AWS_ROLE_ARN");
	const char *session_name = get_variable("AWS_ROLE_SESSION_NAME");
	DpAwsProfile profile;
	bool		by_role;

	if (name == NULL)
		name = "default";
	else
	{
		read_profile(files, name, &profile);
		by_role = profile.found;
		dp_secret_wipe(&profile, sizeof(profile));
		if (!by_role)
		{
			out->problem = "The key agent found no AWS credentials: the profile of AWS_PROFILE is not in the files.";
			return;
		}
	}
	read_profile(files, name, &profile);
	by_role = profile.role_arn[0] != '\0';
	dp_secret_wipe(&profile, sizeof(profile));

	if (!by_role && token_file != NULL && arn != NULL)
		(void) use_web_identity(out, token_file, arn, session_name != NULL ? session_name : "");
	else if (!use_profile(out, files, name) && !use_container(out) && !use_instance(out))
		out->problem = "The key agent found no AWS credentials in its environment, in files, or where containers and instances have them.";
}

void
dp_aws_plan_make(DpAwsPlan *out)
{
	Files		files = {.copy = NULL};
	bool		unfit = false;
	const char *region = get_variable("AWS_REGION");

	memset(out, 0, sizeof(*out));
	if (region == NULL)
		region = get_variable("AWS_DEFAULT_REGION");
	if (region != NULL)
		strlcpy(out->region, region, sizeof(out->region));
	for (int i = 0; i < N_FILES; i++)
		look_at(i, &seen[i]);
	if (use_environment(out))
		return;

	files.copy = malloc(FILE_MAX_LEN);
	for (int i = 0; files.copy != NULL && i < N_FILES; i++)
		files.text[i] = load_file(i, &unfit, &files.of_others);
	if (files.copy == NULL)
		out->problem = "The key agent is out of memory.";
	else if (unfit)
		out->problem = "The file of AWS credentials or configuration cannot be read.";
	else
		plan_with_files(out, &files);
	for (int i = 0; i < N_FILES; i++)
	{
		if (files.text[i] == NULL)
			continue;
		dp_secret_wipe(files.text[i], FILE_MAX_LEN);
		free(files.text[i]);
	}
	if (files.copy != NULL)
		dp_secret_wipe(files.copy, FILE_MAX_LEN);
	free(files.copy);
}
