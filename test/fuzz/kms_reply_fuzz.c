/*
 * kms_reply_fuzz.c
 *	  Replies of a hostile KMS: parsing stays inside the buffer, and what it hands
 *	  out ends inside the buffer.
 */
#include "kms/reply.h"

#include "fuzz.h"

/* Before an error the parser leaves names behind: in a server, to its memory context. */
extern const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:parse_object_field";
}

static void
check_member(const DpKmsMember *member, const char *buf, size_t len)
{
	must(member->n >= 0 && member->n <= DP_KMS_REPLY_LIST);
	must((member->n == 0) == (member->value == NULL));
	for (int i = 0; i < member->n; i++)
	{
		must(member->list[i] > buf && member->list[i] < buf + len);
		must(memchr(member->list[i], '\0', buf + len - member->list[i]) != NULL);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *buf = (char *) exact(size + 1);
	DpKmsMember wanted[] = {
		{.path = "Plaintext"}, {.path = "__type"}, {.path = "data.ciphertext"}, {.path = "data.latest_version"}, {.path = "data.keys.1.public_key"},
		{.path = "KeyMetadata.DeletionDate"}, {.path = "KeyMetadata.MultiRegionConfiguration.ReplicaKeys.[].Arn"}, {.path = "a.[]"}
	};
	const size_t n = sizeof(wanted) / sizeof(wanted[0]);

	memcpy(buf, data, size);
	buf[size] = '}';			/* what lies behind must not be taken for a part */
	if (dp_kms_reply_parse(buf, size, wanted, (int) n))
	{
		for (size_t i = 0; i < n; i++)
			check_member(&wanted[i], buf, size);
		if (wanted[1].value != NULL)
			must(strpbrk(dp_kms_reply_bare_type(wanted[1].value), ":#") == NULL || strchr(wanted[1].value, '#') != NULL);
	}
	free(buf);
	return 0;
}
