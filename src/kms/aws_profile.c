/*
 * aws_profile.c
 *	  Files and answers that hold credentials for AWS; see the header.
 */
#include "postgres.h"

#include <time.h>

#include "kms/aws_profile.h"
#include "kms/reply.h"

/* The text between white space, in place. */
static char *
trim(char *text)
{
	size_t		len;

	text += strspn(text, " \t\r");
	len = strlen(text);
	while (len > 0 && strchr(" \t\r", text[len - 1]) != NULL)
		text[--len] = '\0';
	return text;
}

/* Once: what another file said before stays.  Too long: it is none. */
static void
take(char *out, size_t out_size, const char *value)
{
	if (out[0] == '\0' && strlcpy(out, value, out_size) >= out_size)
		out[0] = '\0';
}

static void
take_setting(DpAwsProfile *out, const char *name, const char *value)
{
	const struct
	{
		const char *name;
		char	   *place;
		size_t		size;
	}			settings[] =

	{
		{"aws_access_key_id", out->keys.access_key, sizeof(out->keys.access_key)},
		{"aws_secret_access_key", out->keys.secret_key, sizeof(out->keys.secret_key)},
		{"aws_session_token", out->keys.session_token, sizeof(out->keys.session_token)},
		{"role_arn", out->role_arn, sizeof(out->role_arn)},
		{"source_profile", out->source_profile, sizeof(out->source_profile)},
		{"credential_source", out->credential_source, sizeof(out->credential_source)},
		{"web_identity_token_file", out->token_file, sizeof(out->token_file)},
		{"role_session_name", out->session_name, sizeof(out->session_name)},
		{"external_id", out->external_id, sizeof(out->external_id)},
		{"region", out->region, sizeof(out->region)},
		{"credential_process", out->process, sizeof(out->process)}
	};

	for (int i = 0; i < lengthof(settings); i++)
	{
		if (strcmp(name, settings[i].name) == 0)
			take(settings[i].place, settings[i].size, value);
	}
}

/* Is "[...]" the profile's section?  The line is cut up. */
static bool
is_section(char *line, const char *name, bool is_config)
{
	char	   *end = strchr(line, ']');

	if (end == NULL)
		return false;
	*end = '\0';
	line = trim(line + 1);
	if (!is_config || strcmp(name, "default") == 0)
	{
		if (strcmp(line, name) == 0)
			return true;
		if (!is_config)
			return false;
	}
	if (strncmp(line, "profile", strlen("profile")) != 0)
		return false;
	line += strlen("profile");
	return (*line == ' ' || *line == '\t') && strcmp(trim(line), name) == 0;
}

void
dp_aws_profile_read(char *text, const char *name, bool is_config, DpAwsProfile *out)
{
	DpAwsProfile read;
	bool		in_profile = false;
	bool		below_empty = false;
	char	   *rest = text;
	char	   *line;

	memset(&read, 0, sizeof(read));
	while ((line = strsep(&rest, "\n")) != NULL)
	{
		bool		indented = *line == ' ' || *line == '\t';
		char	   *equals;
		char	   *value;

		line = trim(line);
		if (line[0] == '[')
		{
			in_profile = is_section(line, name, is_config);
			read.found |= in_profile;
			below_empty = false;
			continue;
		}
		equals = strchr(line, '=');
		if (!in_profile || line[0] == '#' || line[0] == ';' || equals == NULL || (indented && below_empty))
			continue;
		*equals = '\0';
		value = trim(equals + 1);
		below_empty = *value == '\0';
		take_setting(&read, trim(line), value);
	}

	/* Keys are a set: half of one file's and half of another's open nothing. */
	if (out->keys.access_key[0] == '\0' && out->keys.secret_key[0] == '\0')
		out->keys = read.keys;
	take(out->role_arn, sizeof(out->role_arn), read.role_arn);
	take(out->source_profile, sizeof(out->source_profile), read.source_profile);
	take(out->credential_source, sizeof(out->credential_source), read.credential_source);
	take(out->token_file, sizeof(out->token_file), read.token_file);
	take(out->session_name, sizeof(out->session_name), read.session_name);
	take(out->external_id, sizeof(out->external_id), read.external_id);
	take(out->region, sizeof(out->region), read.region);
	take(out->process, sizeof(out->process), read.process);
	out->found |= read.found;
	explicit_bzero(&read, sizeof(read));
}

int64
dp_aws_time(const char *text)
{
	struct tm	tm = {0};
	const char *end = text == NULL ? NULL : strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (end == NULL)
		return 0;
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	/* Before 1970, or a year of more than four digits, is no time of an answer's. */
	if (strcmp(end, "Z") != 0 || tm.tm_year < 70 || tm.tm_year > 9999 - 1900)
		return 0;
	return (int64) timegm(&tm);
}

/* What a header and a signature may hold. */
static bool
is_token(const char *value)
{
	for (; *value != '\0'; value++)
	{
		if (*value <= ' ' || *value >= 0x7f)
			return false;
	}
	return true;
}

static bool
take_credentials(DpAwsCredentials *out, const char *access_key, const char *secret_key,
				 const char *token, const char *expires)
{
	memset(out, 0, sizeof(*out));
	if (access_key == NULL || secret_key == NULL || expires == NULL || *access_key == '\0' || *secret_key == '\0' ||
		!is_token(access_key) || !is_token(secret_key) || (token != NULL && !is_token(token)) ||
		strlcpy(out->access_key, access_key, sizeof(out->access_key)) >= sizeof(out->access_key) ||
		strlcpy(out->secret_key, secret_key, sizeof(out->secret_key)) >= sizeof(out->secret_key) ||
		(token != NULL && strlcpy(out->session_token, token, sizeof(out->session_token)) >= sizeof(out->session_token)) ||
		(out->expires_at = dp_aws_time(expires)) == 0)
	{
		explicit_bzero(out, sizeof(*out));
		return false;
	}
	return true;
}

/*
 * The text of the only element of that name, in place; NULL where there is none, or
 * more, or it has elements or entities in it (no credential has).
 */
static char *
element(char *text, const char *name)
{
	char		open[40];
	char		close[40];
	char	   *start;
	char	   *end;

	snprintf(open, sizeof(open), "<%s>", name);
	snprintf(close, sizeof(close), "</%s>", name);
	start = strstr(text, open);
	if (start == NULL || strstr(start + 1, open) != NULL)
		return NULL;
	start += strlen(open);
	end = strstr(start, close);
	if (end == NULL || start + strcspn(start, "<&") != end)
		return NULL;
	return start;
}

bool
dp_aws_answer_sts(char *text, size_t len, DpAwsCredentials *out)
{
	static const char *const names[] = {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"};
	char	   *found[lengthof(names)];

	text[len] = '\0';
	for (int i = 0; i < lengthof(names); i++)
	{
		if ((found[i] = element(text, names[i])) == NULL)
			return false;
	}
	for (int i = 0; i < lengthof(names); i++)
	{
		char	   *end = found[i] + strcspn(found[i], "<");

		*end = '\0';
		found[i] = trim(found[i]);
	}
	return take_credentials(out, found[0], found[1], found[2], found[3]);
}

char *
dp_aws_answer_sts_code(char *text, size_t len)
{
	char	   *code;

	text[len] = '\0';
	code = element(text, "Code");
	if (code == NULL)
		return NULL;
	code[strcspn(code, "<")] = '\0';
	if (*code == '\0' || strlen(code) > 64 ||
		strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != strlen(code))
		return NULL;
	return code;
}

bool
dp_aws_answer_json(char *text, size_t len, DpAwsCredentials *out)
{
	DpKmsMember wanted[] = {
		{.path = "AccessKeyId"}, {.path = "SecretAccessKey"}, {.path = "Token"}, {.path = "Expiration"}
	};

	return dp_kms_reply_parse(text, len, wanted, lengthof(wanted)) &&
		take_credentials(out, wanted[0].value, wanted[1].value, wanted[2].value, wanted[3].value);
}

bool
dp_aws_answer_process(char *text, size_t len, DpAwsCredentials *out)
{
	DpKmsMember wanted[] = {
		{.path = "Version"}, {.path = "AccessKeyId"}, {.path = "SecretAccessKey"}, {.path = "SessionToken"}, {.path = "Expiration"}
	};

	return dp_kms_reply_parse(text, len, wanted, lengthof(wanted)) &&
		wanted[0].value != NULL && strcmp(wanted[0].value, "1") == 0 &&
		take_credentials(out, wanted[1].value, wanted[2].value, wanted[3].value,
						 wanted[4].value != NULL ? wanted[4].value : "9999-12-31T23:59:59Z");
}

bool
dp_aws_command_split(char *text, char **words, int max)
{
	char	   *in = text;
	int			n = 0;

	for (;;)
	{
		char	   *out;
		char		quote = '\0';

		in += strspn(in, " \t");
		if (*in == '\0')
			break;
		if (n == max)
			return false;
		out = words[n++] = in;
		for (; *in != '\0' && (quote != '\0' || (*in != ' ' && *in != '\t')); in++)
		{
			if (quote == '\0' && (*in == '\'' || *in == '"'))
				quote = *in;
			else if (quote != '\0' && *in == quote)
				quote = '\0';
			else
			{
				/* within "..." it is itself but before what it can quote */
				if (*in == '\\' && (quote == '\0' || (quote == '"' && (in[1] == '"' || in[1] == '\\'))))
					in++;
				if (*in == '\0')
					return false;
				*out++ = *in;
			}
		}
		if (quote != '\0')
			return false;
		if (*in != '\0')
			in++;
		*out = '\0';
	}
	words[n] = NULL;
	return n > 0;
}
