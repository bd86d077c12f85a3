/*
 * text.c
 *	  Text of users in fields of a fixed size.
 */
#include "postgres.h"

#include "base/text.h"
#include "mb/pg_wchar.h"

Size
dp_text_copy(char *out, Size size, const char *text)
{
	Size		left = text != NULL ? strlen(text) : 0;
	Size		len = 0;

	/* as it is nearly always: it fits, and is what the database's encoding allows */
	if (left > 0 && left < size &&
		pg_encoding_verifymbstr(GetDatabaseEncoding(), text, (int) left) == (int) left)
	{
		memcpy(out, text, left + 1);
		return left;
	}

	while (left > 0)
	{
		int			step = pg_encoding_verifymbchar(GetDatabaseEncoding(), text,
													(int) Min(left, MAX_MULTIBYTE_CHAR_LEN));
		Size		used = Max(step, 1);

		if (len + used >= size)
			break;
		if (step > 0)
			memcpy(out + len, text, used);
		else
			out[len] = '?';
		len += used;
		text += used;
		left -= used;
	}
	out[len] = '\0';
	return len;
}
