/*
 * sink_reply_fuzz.c
 *	  Replies of a hostile collector: reading stays inside, and nothing is taken
 *	  for an acknowledgement of what was not asked.
 */
#include <string.h>

#include "audit/sink_reply.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = (char *) exact(size);
	int64_t		ack;

	memcpy(text, data, size);
	if (dp_hec_reply_taken(text, size, &ack))
		must(ack >= -1 && size > 0 && memchr(text, '0', size) != NULL);
	else
		must(ack == -1);
	if (dp_hec_reply_acked(text, size, 7))
		must(memchr(text, '7', size) != NULL && memchr(text, 't', size) != NULL);
	must(!dp_hec_reply_acked(text, size, -1));
	free(text);
	return 0;
}
