/*
 * reply.c
 *	  A small strict JSON reader (RFC 8259) for the replies of AWS KMS.
 */
#include <string.h>

#include "kms/reply.h"

typedef struct Reader
{
	char	   *p;
	char	   *end;
} Reader;

static bool read_value(Reader *r, int depth);

static void
skip_space(Reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
		r->p++;
}

static bool
take(Reader *r, char c)
{
	if (r->p >= r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * The escape after a backslash, as one byte.  What is not ASCII becomes '?': no
 * member that we use may hold it, and it must not be taken for something else.
 */
static bool
read_escape(Reader *r, char *out)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *found;
	int			code = 0;

	if (r->p >= r->end)
		return false;
	if (*r->p != 'u')
	{
		found = *r->p ? strchr(from, *r->p) : NULL;
		if (found == NULL)
			return false;
		*out = to[found - from];
		r->p++;
		return true;
	}

	r->p++;
	if (r->end - r->p < 4)
		return false;
	for (int i = 0; i < 4; i++)
	{
		int			digit = hex_digit(*r->p++);

		if (digit < 0)
			return false;
		code = code * 16 + digit;
	}
	*out = (code > 0 && code < 0x80) ? (char) code : '?';
	return true;
}

/*
 * A string, unescaped in place: it only gets shorter, and the closing quote
 * leaves room for the terminator.
 */
static bool
read_string(Reader *r, char **out)
{
	char	   *to;

	if (!take(r, '"'))
		return false;
	*out = to = r->p;
	while (r->p < r->end)
	{
		char		c = *r->p++;

		if (c == '"')
		{
			*to = '\0';
			return true;
		}
		if ((unsigned char) c < 0x20)
			return false;
		if (c == '\\' && !read_escape(r, &c))
			return false;
		*to++ = c;
	}
	return false;
}

static bool
read_digits(Reader *r)
{
	char	   *start = r->p;

	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
		r->p++;
	return r->p > start;
}

static bool
read_number(Reader *r)
{
	(void) take(r, '-');
	if (!take(r, '0') && !read_digits(r))
		return false;
	if (take(r, '.') && !read_digits(r))
		return false;
	if (take(r, 'e') || take(r, 'E'))
	{
		if (!take(r, '+'))
			(void) take(r, '-');
		return read_digits(r);
	}
	return true;
}

static bool
read_word(Reader *r, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (r->end - r->p) < len || memcmp(r->p, word, len) != 0)
		return false;
	r->p += len;
	return true;
}

static bool
read_array(Reader *r, int depth)
{
	if (!take(r, '['))
		return false;
	skip_space(r);
	if (take(r, ']'))
		return true;
	do
	{
		if (!read_value(r, depth))
			return false;
		skip_space(r);
	} while (take(r, ','));
	return take(r, ']');
}

/* Where a member of the outermost object goes; NULL for one that we do not use. */
static char **
wanted_member(DpKmsReply *reply, const char *name)
{
	if (reply == NULL)
		return NULL;
	if (strcmp(name, "CiphertextBlob") == 0)
		return &reply->ciphertext;
	if (strcmp(name, "Plaintext") == 0)
		return &reply->plaintext;
	if (strcmp(name, "__type") == 0)
		return &reply->error_type;
	return NULL;
}

/* reply: NULL for an object inside another. */
static bool
read_object(Reader *r, int depth, DpKmsReply *reply)
{
	if (!take(r, '{'))
		return false;
	skip_space(r);
	if (take(r, '}'))
		return true;
	do
	{
		char	  **wanted;
		char	   *name;
		char	   *value;

		skip_space(r);
		if (!read_string(r, &name))
			return false;
		skip_space(r);
		if (!take(r, ':'))
			return false;
		skip_space(r);
		wanted = wanted_member(reply, name);
		if (wanted != NULL)
		{
			if (*wanted != NULL || !read_string(r, &value))
				return false;
			*wanted = value;
		}
		else if (!read_value(r, depth))
			return false;
		skip_space(r);
	} while (take(r, ','));
	return take(r, '}');
}

static bool
read_value(Reader *r, int depth)
{
	char	   *ignored;

	if (depth >= DP_KMS_REPLY_DEPTH)
		return false;
	skip_space(r);
	if (r->p >= r->end)
		return false;
	switch (*r->p)
	{
		case '"':
			return read_string(r, &ignored);
		case '{':
			return read_object(r, depth + 1, NULL);
		case '[':
			return read_array(r, depth + 1);
		case 't':
			return read_word(r, "true");
		case 'f':
			return read_word(r, "false");
		case 'n':
			return read_word(r, "null");
		default:
			return read_number(r);
	}
}

/* "com.amazonaws.kms#DisabledException:http://..." is DisabledException. */
static char *
strip_namespace(char *type)
{
	char	   *hash = strchr(type, '#');
	char	   *bare = hash ? hash + 1 : type;

	bare[strcspn(bare, ":")] = '\0';
	return bare;
}

bool
dp_kms_reply_parse(char *buf, size_t len, DpKmsReply *out)
{
	Reader		r = {buf, buf + len};

	memset(out, 0, sizeof(*out));
	skip_space(&r);
	if (!read_object(&r, 1, out))
		return false;
	skip_space(&r);
	if (r.p != r.end)
		return false;
	if (out->error_type != NULL)
		out->error_type = strip_namespace(out->error_type);
	return true;
}

static const char base64_digits[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
dp_base64_encode(const uint8_t *in, size_t in_len, char *out)
{
	for (size_t i = 0; i < in_len; i += 3)
	{
		size_t		left = in_len - i;
		uint32_t	bits = (uint32_t) in[i] << 16;

		if (left > 1)
			bits |= (uint32_t) in[i + 1] << 8;
		if (left > 2)
			bits |= in[i + 2];
		*out++ = base64_digits[bits >> 18];
		*out++ = base64_digits[(bits >> 12) & 63];
		*out++ = left > 1 ? base64_digits[(bits >> 6) & 63] : '=';
		*out++ = left > 2 ? base64_digits[bits & 63] : '=';
	}
	*out = '\0';
}

static int
base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

bool
dp_base64_decode(const char *text, uint8_t *out, size_t out_size, size_t *out_len)
{
	size_t		text_len = strlen(text);
	size_t		digits = text_len;
	size_t		len;
	size_t		n = 0;
	uint32_t	bits = 0;
	bool		ok = true;

	*out_len = 0;
	if (text_len % 4 != 0)
		return false;
	for (int i = 0; i < 2 && digits > 0 && text[digits - 1] == '='; i++)
		digits--;
	len = digits / 4 * 3 + (digits % 4 > 0 ? digits % 4 - 1 : 0);
	if (len > out_size)
		return false;

	for (size_t i = 0; i < digits; i++)
	{
		int			value = base64_value(text[i]);

		ok = ok && value >= 0;
		bits = (bits << 6) | (uint32_t) (value & 63);
		if (i % 4 != 0)
			out[n++] = (uint8_t) (bits >> (6 - 2 * (i % 4)));
	}
	/* Unused bits of the last digit must be zero: one text for one value. */
	if (digits % 4 == 2)
		ok = ok && (bits & 15) == 0;
	else if (digits % 4 == 3)
		ok = ok && (bits & 3) == 0;

	if (!ok)
		explicit_bzero(out, n);
	else
		*out_len = n;
	return ok;
}
