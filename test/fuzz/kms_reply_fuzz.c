/*
 * kms_reply_fuzz.c
 *	  Replies of a hostile KMS: parsing stays inside the buffer, what it hands
 *	  out ends inside the buffer, base64 has one spelling for one value.
 */
#include <string.h>

#include "fuzz.h"
#include "kms/reply.h"

static void
check_member(const char *member, const char *buf, size_t len)
{
	uint8_t    *out;
	char	   *again;
	size_t		out_len;
	size_t		room;

	if (member == NULL)
		return;
	must(member > buf && member <= buf + len);
	must(memchr(member, '\0', buf + len + 1 - member) != NULL);

	room = strlen(member) / 4 * 3;
	out = exact(room);
	if (dp_base64_decode(member, out, room, &out_len))
	{
		must(out_len <= room);
		again = (char *) exact(dp_base64_encoded_len(out_len) + 1);
		dp_base64_encode(out, out_len, again);
		must(strcmp(again, member) == 0);
		free(again);
		must(out_len == 0 || !dp_base64_decode(member, out, out_len - 1, &out_len));
	}
	else
		must(out_len == 0);
	free(out);
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
