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
check_member(const char *member, const char *buf, size_t len)
{
	if (member == NULL)
		return;
	must(member > buf && member < buf + len);
	must(memchr(member, '\0', buf + len - member) != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *buf = (char *) exact(size + 1);
	DpKmsReply	reply;

	memcpy(buf, data, size);
	buf[size] = '}';			/* what lies behind must not be taken for a part */
	if (dp_kms_reply_parse(buf, size, &reply))
	{
		check_member(reply.ciphertext, buf, size);
		check_member(reply.plaintext, buf, size);
		if (reply.error_type != NULL)
			must(strpbrk(reply.error_type, ":") == NULL);
	}
	free(buf);
	return 0;
}
