/*
 * kms_test.c
 *	  Key URIs, patterns, endpoints, and the reader of KMS replies.
 *
 * If one of these fails, two spellings of one key fall on both sides of a
 * pattern, a request goes where it must not, or a hostile reply is believed.
 */
#include <stdlib.h>

#include "kms/reply.h"
#include "kms/uri.h"
#include "tap.h"

#define ARN "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
#define EXPECT_MALFORMED "malformed"
#define EXPECT_UNSUPPORTED "unsupported"

/* expected: region and name as "REGION NAME", or one of the two words above. */
static const struct
{
	const char *uri;
	const char *expected;
}			uris[] =

{
	{"file:///etc/dataprotect/root.key", " /etc/dataprotect/root.key"},
	{"file:///a", " /a"},
	{"file:///a b/\xc3\xa4.key", " /a b/\xc3\xa4.key"},
	{"file:///...", " /..."},
	{"aws-kms://" ARN, "eu-central-1 " ARN},
	{"aws-kms://" ARN "?region=eu-central-1", "eu-central-1 " ARN},
	{"aws-kms://arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/a/b_c-d",
	"us-gov-west-1 arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/a/b_c-d"},
	{"aws-kms://arn:aws:kms:eu-west-1:123456789012:key/mrk-1234567890abcdef1234567890abcdef",
	"eu-west-1 arn:aws:kms:eu-west-1:123456789012:key/mrk-1234567890abcdef1234567890abcdef"},
	{"aws-kms://alias/pii?region=eu-central-1", "eu-central-1 alias/pii"},
	{"aws-kms://1234abcd-12ab-34cd-56ef-1234567890ab?region=cn-north-1",
	"cn-north-1 1234abcd-12ab-34cd-56ef-1234567890ab"},

	{"", EXPECT_MALFORMED},
	{"/etc/root.key", EXPECT_MALFORMED},
	{"file:", EXPECT_MALFORMED},
	{"file:/etc/root.key", EXPECT_MALFORMED},
	{"file://", EXPECT_MALFORMED},
	{"file:///", EXPECT_MALFORMED},
	{"file://host/etc/root.key", EXPECT_MALFORMED},
	{"file:///etc/../root.key", EXPECT_MALFORMED},
	{"file:///..", EXPECT_MALFORMED},
	{"file:///etc/./root.key", EXPECT_MALFORMED},
	{"file:///etc//root.key", EXPECT_MALFORMED},
	{"file:////etc/root.key", EXPECT_MALFORMED},
	{"file:///etc/root.key/", EXPECT_MALFORMED},
	{"file:///etc/%72oot.key", EXPECT_MALFORMED},
	{"file:///etc/root.key?x=y", EXPECT_MALFORMED},
	{"file:///etc/root.key#x", EXPECT_MALFORMED},
	{"file:///etc/a,b", EXPECT_MALFORMED},
	{"file:///etc/a*", EXPECT_MALFORMED},
	{"file:///etc/a\nb", EXPECT_MALFORMED},
	{"aws-kms:alias/pii?region=eu-central-1", EXPECT_MALFORMED},
	{"aws-kms://", EXPECT_MALFORMED},
	{"aws-kms://?region=eu-central-1", EXPECT_MALFORMED},
	{"aws-kms://alias/pii", EXPECT_MALFORMED},
	{"aws-kms://alias/?region=eu-central-1", EXPECT_MALFORMED},
	{"aws-kms://alias/p\"ii?region=eu-central-1", EXPECT_MALFORMED},
	{"aws-kms://alias/pii?region=", EXPECT_MALFORMED},
	{"aws-kms://alias/pii?region=eu_central", EXPECT_MALFORMED},
	{"aws-kms://alias/pii?region=EU-CENTRAL-1", EXPECT_MALFORMED},
	{"aws-kms://alias/pii?region=eu.evil.example", EXPECT_MALFORMED},
	{"aws-kms://alias/pii?region=eu-central-1/x", EXPECT_MALFORMED},
	{"aws-kms://alias/pii?region=-eu", EXPECT_MALFORMED},
	{"aws-kms://alias/pii?region=eu-central-1&region=us-east-1", EXPECT_MALFORMED},
	{"aws-kms://alias/pii?endpoint=http://evil.example&region=eu-central-1", EXPECT_MALFORMED},
	{"aws-kms://alias/pii?region=a2345678901234567890123456789012345", EXPECT_MALFORMED},
	{"aws-kms://" ARN "?region=us-east-1", EXPECT_MALFORMED},
	{"aws-kms://" ARN "?region=eu-central-", EXPECT_MALFORMED},
	{"aws-kms://arn:aws:s3:eu-central-1:123456789012:key/x", EXPECT_MALFORMED},
	{"aws-kms://arn:aws:kms:eu-central-1:12345678901:key/x", EXPECT_MALFORMED},
	{"aws-kms://arn:aws:kms:eu-central-1:12345678901a:key/x", EXPECT_MALFORMED},
	{"aws-kms://arn:aws:kms::123456789012:key/x", EXPECT_MALFORMED},
	{"aws-kms://arn:aws:kms:eu-central-1:123456789012:key/", EXPECT_MALFORMED},
	{"aws-kms://arn:aws:kms:eu-central-1:123456789012:x", EXPECT_MALFORMED},
	{"aws-kms://arn:aws:kms:eu-central-1:123456789012", EXPECT_MALFORMED},
	{"aws-kms://arn:aws:kms:eu-central-1:123456789012:key/x:y", EXPECT_MALFORMED},
	{"aws-kms://user:pw@host/alias/pii?region=eu-central-1", EXPECT_MALFORMED},

	{"hcvault://transit/pii", " transit/pii"},
	{"hcvault://team/transit/pii", " team/transit/pii"},
	{"hcvault://pii", EXPECT_MALFORMED},
	{"hcvault:///pii", EXPECT_MALFORMED},
	{"hcvault://transit/", EXPECT_MALFORMED},
	{"hcvault://transit/../sys/seal", EXPECT_MALFORMED},
	{"hcvault://transit/pii?x=1", EXPECT_MALFORMED},
	{"hcvault://transit/p%69i", EXPECT_MALFORMED},
	{"hcvault:transit/pii", EXPECT_MALFORMED},
	{"kmip://2f4ad9f6-9a3c-4c5e-8f31-0b6f0f0f0f0f", " 2f4ad9f6-9a3c-4c5e-8f31-0b6f0f0f0f0f"},
	{"kmip://1", " 1"},
	{"kmip://", EXPECT_MALFORMED},
	{"kmip:1", EXPECT_MALFORMED},
	{"kmip://host/1", EXPECT_MALFORMED},
	{"kmip://user@1", EXPECT_MALFORMED},
	{"kmip://1?version=2", EXPECT_MALFORMED},
	{"pkcs11:token=hsm;object=root", " root"},
	{"pkcs11:token=hsm;object=root;serial=00ff", " root"},
	{"pkcs11:token=hsm", EXPECT_MALFORMED},
	{"pkcs11:object=root;token=hsm", EXPECT_MALFORMED},
	{"pkcs11:token=;object=root", EXPECT_MALFORMED},
	{"pkcs11:token=hsm;object=ro%6ft", EXPECT_MALFORMED},
	{"pkcs11:token=hsm;object=root;pin-value=1234", EXPECT_MALFORMED},
	{"pkcs11:token=hsm;object=root?module-path=/tmp/evil.so", EXPECT_MALFORMED},
	{"pkcs11:token=hsm;object=root;serial=1;serial=1", EXPECT_MALFORMED},
	{"pkcs11:token=123456789012345678901234567890123;object=root", EXPECT_MALFORMED},
	{"gcp-kms://projects/x", EXPECT_UNSUPPORTED}
};

static void
test_uris(void)
{
	DpKmsUri	uri;
	const char *problem;
	char		got[2 * DP_KMS_URI_MAX];
	char		longest[DP_KMS_URI_MAX + 1];
	size_t		i;

	for (i = 0; i < sizeof(uris) / sizeof(uris[0]); i++)
	{
		switch (dp_kms_uri_parse(uris[i].uri, &uri, &problem))
		{
			case DP_KMS_URI_OK:
				snprintf(got, sizeof(got), "%s %s", uri.region, uri.name);
				break;
			case DP_KMS_URI_MALFORMED:
				snprintf(got, sizeof(got), "%s", EXPECT_MALFORMED);
				break;
			case DP_KMS_URI_UNSUPPORTED:
				snprintf(got, sizeof(got), "%s", EXPECT_UNSUPPORTED);
				break;
		}
		tap_ok(strcmp(got, uris[i].expected) == 0, "uri %zu is read as it should", i);
	}

	memset(longest, 'a', sizeof(longest));
	memcpy(longest, "file:///", 8);
	longest[DP_KMS_URI_MAX] = '\0';
	tap_ok(dp_kms_uri_parse(longest, &uri, &problem) == DP_KMS_URI_MALFORMED, "uri of 512 bytes");
	longest[DP_KMS_URI_MAX - 1] = '\0';
	tap_ok(dp_kms_uri_parse(longest, &uri, &problem) == DP_KMS_URI_OK &&
		   strcmp(uri.text, longest) == 0, "uri of 511 bytes");

	(void) !dp_kms_uri_parse("aws-kms://alias/pii?region=eu-central-1", &uri, &problem);
	tap_ok(uri.by_alias, "alias is known as one");
	(void) !dp_kms_uri_parse("aws-kms://" ARN, &uri, &problem);
	tap_ok(!uri.by_alias, "key is not an alias");
	(void) !dp_kms_uri_parse("aws-kms://arn:aws:kms:eu-central-1:123456789012:alias/pii", &uri, &problem);
	tap_ok(uri.by_alias, "ARN of an alias is known as one");
}

static void
test_patterns(void)
{
	static const struct
	{
		const char *patterns;
		const char *uri;
		bool		allowed;
	}			cases[] =
	{
		{NULL, "file:///a", false},
		{"", "file:///a", false},
		{" , ,", "file:///a", false},
		{"file:///a", "file:///a", true},
		{"file:///a", "file:///ab", false},
		{"file:///ab", "file:///a", false},
		{"file:///a*", "file:///a", true},
		{"file:///a*", "file:///abc", true},
		{"file:///a/*", "file:///a", false},
		{"file:///x, \tfile:///a\n", "file:///a", true},
		{"file:///x,file:///a*", "file:///abc", true},
		{"file:///*/a", "file:///b/a", false},
		{"file:///*/a", "file:///*/a", false},
		{"file:///**", "file:///b", false},
		{"*", "file:///b", true},
		{"FILE:///a", "file:///a", false},
		{"aws-kms://alias/*", "aws-kms://alias/pii?region=eu-central-1", true},
		{"aws-kms://alias/pii", "aws-kms://alias/pii?region=eu-central-1", false}
	};
	const char *start;
	size_t		len;
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tap_ok(dp_kms_uri_allowed(cases[i].patterns, cases[i].uri) == cases[i].allowed,
			   "pattern %zu allows what it should", i);

	tap_ok(dp_kms_patterns_valid("file:///a*, *", &start, &len), "good patterns");
	tap_ok(!dp_kms_patterns_valid("file:///a*, x*y", &start, &len) && len == 3 &&
		   memcmp(start, "x*y", 3) == 0, "the pattern that can never match is named");
}

static void
test_endpoints(void)
{
	static const struct
	{
		const char *endpoint;
		bool		valid;
		bool		loopback;
	}			cases[] =
	{
		{"https://kms.example.com", true, false},
		{"https://kms.example.com/", true, false},
		{"https://kms.example.com:8443", true, false},
		{"https://127.0.0.1:1", true, true},
		{"http://127.0.0.1:5000", true, true},
		{"http://127.1.2.3", true, true},
		{"http://localhost:5000/", true, true},
		{"http://[::1]:5000", true, true},
		{"http://kms.example.com", false, false},
		{"http://127.0.0.1.example.com", false, false},
		{"http://127.example.com", false, false},
		{"http://127.evil.example.com", false, false},
		{"http://127.a.b.cd", false, false},
		{"http://127.0.0", false, false},
		{"http://127.0.0.1.2", false, false},
		{"http://127..0.1", false, false},
		{"http://localhost.example.com", false, false},
		{"http://localhost@evil.example", false, false},
		{"http://evil.example#localhost", false, false},
		{"http://[::2]:5000", false, false},
		{"http://[::1", false, false},
		{"https://", false, false},
		{"https://user@host", false, false},
		{"https://host/path", false, false},
		{"https://host?x", false, false},
		{"https://host:", false, false},
		{"https://host:123456", false, false},
		{"https://host:12x", false, false},
		{"ftp://127.0.0.1", false, false},
		{"127.0.0.1", false, false},
		{"", false, false}
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		bool		loopback;
		bool		valid = dp_kms_endpoint_valid(cases[i].endpoint, &loopback);

		tap_ok(valid == cases[i].valid && (!valid || loopback == cases[i].loopback),
			   "endpoint %zu is judged as it should", i);
	}
}

/* Before an error the parser leaves names behind: in a server, to its memory context. */
extern const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:parse_object_field";
}

/* What test_replies wants of a reply. */
static DpKmsMember plaintext;
static DpKmsMember ciphertext;
static DpKmsMember type;
static DpKmsMember number;
static DpKmsMember list;

/* Parse a copy that ends where its memory ends, so that the sanitizer watches. */
static bool
parse(const char *text, size_t len, char **out_copy)
{
	DpKmsMember wanted[] = {
		{.path = "Plaintext"}, {.path = "CiphertextBlob"}, {.path = "__type"}, {.path = "n.m.date"}, {.path = "n.list.[].x"}
	};
	bool		ok;

	*out_copy = malloc(len + 1);
	memcpy(*out_copy, text, len);
	(*out_copy)[len] = 'X';
	ok = dp_kms_reply_parse(*out_copy, len, wanted, sizeof(wanted) / sizeof(wanted[0]));
	plaintext = wanted[0];
	ciphertext = wanted[1];
	type = wanted[2];
	number = wanted[3];
	list = wanted[4];
	return ok;
}

static void
test_replies(void)
{
	static const char *const good[] = {
		"{}", " { } \n", "{\"a\":1}", "{\"a\":-0.5e+3,\"b\":[],\"c\":[1,[2,{\"d\":null}]],\"e\":true,\"f\":false}",
		"{\"Plaintext\":\"x\"}", "{\"a\":{\"Plaintext\":[]}}", "{\"Plaintext\":1}", "{\"Plaintext\":null}", "{\"a\":\"\\u0041\\n\\\"\\\\\"}"
	};
	static const char *const bad[] = {
		"", " ", "[]", "\"x\"", "null", "{", "{}x", "{}{}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}",
		"{\"a\":01}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":1e}", "{\"a\":+1}", "{\"a\":-}", "{\"a\":tru}", "{\"a\":nul",
		"{\"a\":\"x}", "{\"a\":\"\n\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"\\",
		"{\"a\":[1}", "{\"a\":[1,]}", "{\"Plaintext\":[]}", "{\"Plaintext\":{}}",
		"{\"Plaintext\":\"x\",\"Plaintext\":\"x\"}", "{\"a\":{\"b\":{\"c\":\"d\"}}"
	};
	static const char whole[] = "{\"KeyId\":\"k\",\"Plain\\u0074ext\":\"a\\/b=\",\"CiphertextBlob\":\"Yg==\","
		"\"__type\":\"com.amazonaws.kms#DisabledException:http://x\","
		"\"n\":{\"date\":3,\"m\":{\"date\":12.5},\"list\":[{\"x\":true},{\"y\":1},{\"x\":\"z\"}]},\"q\":{\"m\":{\"date\":4}}}";
	char	   *copy;
	size_t		i;
	int			accepted = 0;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		tap_ok(parse(good[i], strlen(good[i]), &copy), "good reply %zu", i);
		free(copy);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		tap_ok(!parse(bad[i], strlen(bad[i]), &copy), "bad reply %zu", i);
		free(copy);
	}
	tap_ok(!parse("{\"a\":\"x\0y\"}", 11, &copy), "NUL inside a string");
	free(copy);

	tap_ok(parse(whole, strlen(whole), &copy) &&
		   strcmp(plaintext.value, "a/b=") == 0 && strcmp(ciphertext.value, "Yg==") == 0 &&
		   strcmp(dp_kms_reply_bare_type(type.value), "DisabledException") == 0, "members are found, unescaped");
	tap_ok(number.n == 1 && strcmp(number.value, "12.5") == 0, "a number by its whole path");
	tap_ok(list.n == 2 && strcmp(list.list[0], "true") == 0 && strcmp(list.list[1], "z") == 0, "a member of each element");
	free(copy);
	for (i = 0; i < strlen(whole); i++)
	{
		accepted += parse(whole, i, &copy);
		free(copy);
	}
	tap_ok(accepted == 0, "no truncation is accepted");
}

static void
test_depth(void)
{
	char		text[64];
	char	   *copy;
	int			deepest = 0;
	int			depth;

	for (depth = 1; depth < 25; depth++)
	{
		size_t		len = 0;

		len += sprintf(text + len, "{\"a\":");
		memset(text + len, '[', depth);
		len += depth;
		memset(text + len, ']', depth);
		len += depth;
		text[len++] = '}';
		if (parse(text, len, &copy))
			deepest = depth;
		free(copy);
	}
	tap_ok(deepest == DP_KMS_REPLY_DEPTH - 1, "nesting is limited (%d)", deepest);
}

int
main(void)
{
	test_uris();
	test_patterns();
	test_endpoints();
	test_replies();
	test_depth();
	return tap_done();
}
