/*
 * aws_profile_fuzz.c
 *	  Files of profiles, and answers with credentials, from whoever writes or sends
 *	  them: reading stays inside the text, and what comes out is whole.
 *
 * The first byte chooses: a file, an answer of STS, an answer in JSON (of an endpoint and of
 * a program), a time or a command.
 */
#include "kms/aws_profile.h"

#include "fuzz.h"

/* Before an error the parser leaves names behind: in a server, to its memory context. */
extern const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:parse_object_field";
}

#define ENDS(field) must(memchr(field, '\0', sizeof(field)) != NULL)

static void
check_answer(bool ok, const DpAwsCredentials *keys)
{
	ENDS(keys->access_key);
	ENDS(keys->secret_key);
	ENDS(keys->session_token);
	if (!ok)
		return;
	must(keys->access_key[0] != '\0' && keys->secret_key[0] != '\0' && keys->expires_at != 0);
	/* nothing that would begin another header */
	must(strpbrk(keys->session_token, "\r\n") == NULL && strpbrk(keys->access_key, "\r\n") == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text;
	DpAwsProfile profile;
	DpAwsCredentials keys;
	char	   *words[9];

	if (size == 0)
		return 0;
	text = (char *) exact(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	memset(&keys, 0, sizeof(keys));
	switch (data[0] % 4)
	{
		case 0:
			memset(&profile, 0, sizeof(profile));
			dp_aws_profile_read(text, "default", (data[0] & 4) != 0, &profile);
			memcpy(text, data + 1, size - 1);
			dp_aws_profile_read(text, "a", (data[0] & 8) != 0, &profile);
			check_answer(false, &profile.keys);
			ENDS(profile.role_arn);
			ENDS(profile.source_profile);
			ENDS(profile.token_file);
			ENDS(profile.external_id);
			ENDS(profile.region);
			ENDS(profile.process);
			break;
		case 1:
			check_answer(dp_aws_answer_sts(text, size - 1, &keys), &keys);
			memcpy(text, data + 1, size - 1);
			(void) dp_aws_answer_sts_code(text, size - 1);
			break;
		case 2:
			check_answer(dp_aws_answer_json(text, size - 1, &keys), &keys);
			memcpy(text, data + 1, size - 1);
			check_answer(dp_aws_answer_process(text, size - 1, &keys), &keys);
			break;
		case 3:
			must(dp_aws_time(text) >= 0);
			if (dp_aws_command_split(text, words, 8))
			{
				int			n = 0;

				while (words[n] != NULL)
				{
					must(words[n] >= text && words[n] + strlen(words[n]) < text + size);
					n++;
				}
				must(n >= 1 && n <= 8);
			}
			break;
	}
	free(text);
	return 0;
}
