/*
 * mask.c
 *	  Mask specifications of a key, and masking one value; see mask.h.
 */
#include "postgres.h"

#include "access/mask.h"
#include "base/compat.h"
#include "catalog/pg_type_d.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define FULL_TEXT	"****"
#define TOKEN_PREFIX "tok_"

static const struct
{
	const char *word;
	DpMaskKind	kind;
}			mask_words[] = {
	{"full", DP_MASK_FULL},
	{"partial", DP_MASK_PARTIAL},
	{"email", DP_MASK_EMAIL},
	{"year", DP_MASK_YEAR},
	{"null", DP_MASK_NULL},
	{"token", DP_MASK_TOKEN},
};

PG_FUNCTION_INFO_V1(dp_mask_sql_canonical);
PG_FUNCTION_INFO_V1(dp_mask_sql_apply);

/* ---- the specification ---- */

static const char *
skip_blanks(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	return p;
}

/* One punctuation character, blanks around it allowed. */
static bool
take_char(const char **p, char c)
{
	*p = skip_blanks(*p);
	if (**p != c)
		return false;
	*p = skip_blanks(*p + 1);
	return true;
}

static bool
take_count(const char **p, int *out)
{
	int			n = 0;

	if (**p < '0' || **p > '9')
		return false;
	for (; **p >= '0' && **p <= '9'; (*p)++)
	{
		n = n * 10 + (**p - '0');
		if (n > DP_MASK_KEEP_MAX)
			return false;
	}
	*out = n;
	return true;
}

/* A quoted string as in SQL: '' stands for one quote. */
static bool
take_fill(const char **p, char *out)
{
	int			len = 0;

	if (**p != '\'')
		return false;
	for ((*p)++; **p != '\0'; (*p)++)
	{
		if (**p == '\'')
		{
			if ((*p)[1] != '\'')
				break;
			(*p)++;
		}
		if (len == DP_MASK_FILL_MAX)
			return false;
		out[len++] = **p;
	}
	if (**p != '\'' || len == 0)
		return false;
	(*p)++;
	out[len] = '\0';
	return true;
}

static bool
parse_partial(const char **p, DpMask *out, const char **out_problem)
{
	*out_problem = "Write partial(n,'x',m): characters kept in front, filler of 1 to 16 bytes, characters kept at the end (0 to 100 each).";
	if (!take_char(p, '(') || !take_count(p, &out->head) ||
		!take_char(p, ',') || !take_fill(p, out->fill) ||
		!take_char(p, ',') || !take_count(p, &out->tail) ||
		!take_char(p, ')'))
		return false;
	if (out->head + out->tail == 0)
	{
		*out_problem = "A partial mask that keeps no character is \"full\".";
		return false;
	}
	return true;
}

/* False where it is malformed: *out_problem is then a full sentence (a constant). */
static bool
parse_mask(const char *spec, DpMask *out, const char **out_problem)
{
	const char *p = skip_blanks(spec);
	int			word_len = 0;
	int			i;

	memset(out, 0, sizeof(*out));
	while ((p[word_len] >= 'a' && p[word_len] <= 'z') ||
		   (p[word_len] >= 'A' && p[word_len] <= 'Z'))
		word_len++;
	for (i = 0; i < lengthof(mask_words); i++)
	{
		if (strlen(mask_words[i].word) == word_len &&
			pg_strncasecmp(mask_words[i].word, p, word_len) == 0)
			break;
	}
	if (i == lengthof(mask_words))
	{
		*out_problem = "A mask is one of full, partial(n,'x',m), email, year, null, token.";
		return false;
	}
	out->kind = mask_words[i].kind;
	p += word_len;
	if (out->kind == DP_MASK_PARTIAL && !parse_partial(&p, out, out_problem))
		return false;
	if (*skip_blanks(p) != '\0')
	{
		*out_problem = "Nothing may follow the mask.";
		return false;
	}
	return true;
}

void
dp_mask_parse_strict(const char *spec, DpMask *out)
{
	const char *problem;

	if (!parse_mask(spec, out, &problem))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mask \"%.*s\"", pg_mbcliplen(spec, strlen(spec), 100), spec),
				 errdetail("%s", problem),
				 errhint("The masks are full, partial(n,'x',m), email, year, null and token.")));
}

/* The one spelling of a mask; at most 63 bytes.  Parses to the same mask. */
static char *
canonical_mask(const DpMask *mask)
{
	char		quoted[2 * DP_MASK_FILL_MAX + 1];
	char	   *dst = quoted;
	const char *src;

	if (mask->kind == DP_MASK_PARTIAL)
	{
		for (src = mask->fill; *src; src++)
		{
			if (*src == '\'')
				*dst++ = '\'';
			*dst++ = *src;
		}
		*dst = '\0';
		return psprintf("partial(%d,'%s',%d)", mask->head, quoted, mask->tail);
	}
	return pstrdup(mask_words[mask->kind].word);
}

/* ---- masking ---- */

/* Byte offset behind the first n characters. */
static Size
offset_of_char(const char *text, Size len, int n)
{
	Size		at = 0;

	while (n-- > 0 && at < len)
		at += pg_mblen(text + at);
	return Min(at, len);
}

static char *
mask_partial(const DpMask *mask, const char *text, Size len)
{
	int			chars = pg_mbstrlen_with_len(text, len);
	Size		head_end;
	Size		tail_start;

	if (chars <= mask->head + mask->tail)
		return pstrdup(mask->fill);
	head_end = offset_of_char(text, len, mask->head);
	tail_start = offset_of_char(text, len, chars - mask->tail);
	return psprintf("%.*s%s%.*s",
					(int) head_end, text, mask->fill,
					(int) (len - tail_start), text + tail_start);
}

/*
 * The last label of a domain with its dot, or "" where it has none or is not of
 * the letters, digits and hyphens that a public suffix is made of.
 */
static const char *
domain_suffix(const char *domain, Size len, int *out_len)
{
	Size		dot = len;
	Size		i;

	*out_len = 0;
	while (dot > 0 && domain[dot - 1] != '.')
		dot--;
	if (dot == 0 || len - dot < 2 || len - dot > 63)
		return "";
	for (i = dot; i < len; i++)
	{
		unsigned char c = domain[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			  (c >= '0' && c <= '9') || c == '-'))
			return "";
	}
	*out_len = (int) (len - dot + 1);
	return domain + dot - 1;
}

static char *
mask_email(const char *text, Size len)
{
	Size		at = len;
	Size		first;
	const char *suffix;
	int			suffix_len;

	while (at > 0 && text[at - 1] != '@')
		at--;
	if (at <= 1 || at == len)
		return pstrdup(FULL_TEXT);

	/* at is now the start of the domain; a local part of one character hides */
	first = offset_of_char(text, at - 1, 1);
	if (first >= at - 1)
		first = 0;
	suffix = domain_suffix(text + at, len - at, &suffix_len);
	return psprintf("%.*s***@***%.*s", (int) first, text, suffix_len, suffix);
}

static char *
token_text(const uint8 *token)
{
	static const char digits[] = "0123456789abcdef";
	char	   *out = palloc(sizeof(TOKEN_PREFIX) + 2 * DP_MASK_TOKEN_LEN);
	char	   *p = out + sizeof(TOKEN_PREFIX) - 1;
	int			i;

	memcpy(out, TOKEN_PREFIX, sizeof(TOKEN_PREFIX) - 1);
	for (i = 0; i < DP_MASK_TOKEN_LEN; i++)
	{
		*p++ = digits[token[i] >> 4];
		*p++ = digits[token[i] & 0x0f];
	}
	*p = '\0';
	return out;
}

char *
dp_mask_text(const DpMask *mask, const char *text, Size text_len, const uint8 *token)
{
	switch (mask->kind)
	{
		case DP_MASK_PARTIAL:
			return mask_partial(mask, text, text_len);
		case DP_MASK_EMAIL:
			return mask_email(text, text_len);
		case DP_MASK_FULL:
		case DP_MASK_YEAR:
		case DP_MASK_NULL:
		case DP_MASK_TOKEN:
			break;
	}
	return dp_mask_opaque_text(mask, token);
}

char *
dp_mask_opaque_text(const DpMask *mask, const uint8 *token)
{
	if (mask->kind == DP_MASK_NULL)
		return NULL;
	if (mask->kind == DP_MASK_TOKEN)
		return token_text(token);
	return pstrdup(FULL_TEXT);
}

/* 1 January of a date's year; false at infinity and below the first whole year. */
static bool
date_year(DateADT date, DateADT *out)
{
	int			year;
	int			month;
	int			day;

	if (DATE_NOT_FINITE(date))
		return false;
	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (!IS_VALID_JULIAN(year, 1, 1))
		return false;
	*out = date2j(year, 1, 1) - POSTGRES_EPOCH_JDATE;
	return true;
}

/* Timestamps count microseconds; those with time zone in UTC. */
static bool
timestamp_year(Timestamp ts, Timestamp *out)
{
	int64		day;
	DateADT		first;

	if (TIMESTAMP_NOT_FINITE(ts))
		return false;
	day = ts / USECS_PER_DAY;
	if (ts % USECS_PER_DAY < 0)
		day--;
	if (!date_year((DateADT) day, &first))
		return false;
	*out = (Timestamp) first * USECS_PER_DAY;
	return IS_VALID_TIMESTAMP(*out);
}

bool
dp_mask_datum(const DpMask *mask, Oid base_type, Datum value, Datum *out)
{
	DateADT		date;
	Timestamp	ts;

	if (mask->kind != DP_MASK_YEAR)
		return false;
	switch (base_type)
	{
		case DATEOID:
			if (!date_year(DatumGetDateADT(value), &date))
				return false;
			*out = DateADTGetDatum(date);
			return true;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			if (!timestamp_year(DatumGetTimestamp(value), &ts))
				return false;
			*out = TimestampGetDatum(ts);
			return true;
		default:
			return false;
	}
}

/* ---- SQL ---- */

/* dataprotect._mask_canonical(spec text) returns text */
Datum
dp_mask_sql_canonical(PG_FUNCTION_ARGS)
{
	DpMask		mask;

	dp_mask_parse_strict(text_to_cstring(PG_GETARG_TEXT_PP(0)), &mask);
	PG_RETURN_TEXT_P(cstring_to_text(canonical_mask(&mask)));
}

/*
 * dataprotect._mask_apply(spec text, value text) returns text
 * For trying a mask out; its tokens are made of zeros, as there is no key here.
 */
Datum
dp_mask_sql_apply(PG_FUNCTION_ARGS)
{
	static const uint8 no_token[DP_MASK_TOKEN_LEN] = {0};
	text	   *value = PG_GETARG_TEXT_PP(1);
	DpMask		mask;
	char	   *shown;

	dp_mask_parse_strict(text_to_cstring(PG_GETARG_TEXT_PP(0)), &mask);
	shown = dp_mask_text(&mask, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), no_token);
	if (shown == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(shown));
}
