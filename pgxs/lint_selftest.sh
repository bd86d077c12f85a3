#!/bin/sh
# Feed every rule of lint.pl a violation and see it turn red; a rule that
# stays green is broken.  The clean tree that the violations are put into must
# be green as a whole.
set -eu

pgxs=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dp-lint.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
passed=0
failed=0

# A small tree without a fault.
clean_tree()
{
	tree=$work/tree
	rm -rf "$tree"
	mkdir -p "$tree/src/base" "$tree/src/crypto" "$tree/src/keys" "$tree/sql" "$tree/expected"
	cat >"$tree/src/base/guc.c" <<'END'
extern void DefineCustomIntVariable(const char *name);
extern void MarkGUCPrefixReserved(const char *name);
extern void dp_guc_init(void);

void
dp_guc_init(void)
{
	DefineCustomIntVariable("dataprotect.a_first");
	DefineCustomIntVariable("dataprotect.b_second");
	MarkGUCPrefixReserved("dataprotect");
}
END
	echo 'extern int dp_low(int x);' >"$tree/src/crypto/low.h"
	cat >"$tree/src/crypto/low.c" <<'END'
#include "crypto/low.h"

/* strcpy() and "rand()" in a comment or a string are no calls */
int
dp_low(int x)
{
	return x;
}
END
	echo 'extern int dp_high(int x);' >"$tree/src/keys/high.h"
	cat >"$tree/src/keys/high.c" <<'END'
#include "crypto/low.h"
#include "keys/high.h"

int
dp_high(int x)
{
	return dp_low(x);
}
END
	mkdir -p "$tree/test/unit"
	echo '/* tests dp_guc_init() and dp_high() */' >"$tree/test/unit/both.c"
	echo 'CREATE TABLE dataprotect.thing (id int);' >"$tree/src/keys/10_thing.sql"
	echo 'SELECT 1;' >"$tree/sql/one.sql"
	echo 'SELECT 1;' >"$tree/expected/one.out"
	echo "default_version = '0.2.0'" >"$tree/dataprotect.control"
	cat >"$tree/Makefile" <<'END'
EXTVERSION = 0.2.0
OBJS = \
       $(addprefix src/base/, guc.o) \
       $(addprefix src/crypto/, low.o) src/keys/high.o
SQL_PARTS = $(addprefix src/keys/, \
	10_thing.sql)
END
	printf '## [0.2.0] - unreleased\n' >"$tree/CHANGELOG.md"
	echo '{"version": "0.2.0", "provides": {"dataprotect": {"version": "0.2.0"}}}' >"$tree/META.json"
	# shellcheck disable=SC2016
	echo 'Settings: `dataprotect.a_first`, `dataprotect.b_second`.' >"$tree/README.md"
}

compile()
{
	for source in "$tree"/src/*/*.c; do
		${CC:-cc} -c -I"$tree/src" -o "${source%.c}.o" "$source" 2>"$work/cc.log" || {
			cat "$work/cc.log"
			exit 1
		}
	done
}

# sees RULE WHAT: the rule must be red on the tree as it is now.
sees()
{
	compile
	if "$pgxs/lint.pl" --tree "$tree" "$1" >"$work/out" 2>&1; then
		echo "FAILED lint selftest $1: does not see $2"
		failed=$((failed + 1))
	elif grep -q "^FAILED lint $1:" "$work/out"; then
		echo "ok     lint selftest $1: sees $2"
		passed=$((passed + 1))
	else
		echo "FAILED lint selftest $1: broke down on $2"
		sed 's/^/       /' "$work/out"
		failed=$((failed + 1))
	fi
	clean_tree
}

# keep_release VERSION: what is installed now, as that release.
keep_release()
{
	mkdir -p "$tree/src/upgrade"
	{
		printf '%s\n' '\echo Use "CREATE EXTENSION dataprotect" to load this file. \quit'
		cat "$tree/src/keys/10_thing.sql"
	} >"$work/install.sql"
	"$pgxs/upgrade.pl" freeze "$tree/src/upgrade" "$1" "$work/install.sql" >"$work/out"
}

append()
{
	cat >>"$tree/$1"
}

clean_tree
compile
if "$pgxs/lint.pl" --tree "$tree" >"$work/out" 2>&1; then
	echo "ok     lint selftest: the clean tree passes every rule"
	passed=$((passed + 1))
else
	echo "FAILED lint selftest: the clean tree does not pass"
	sed 's/^/       /' "$work/out"
	failed=$((failed + 1))
fi
clean_tree

echo '#include "keys/high.h"' | append src/crypto/low.c
sees layer-include "an include from a higher layer"

printf 'typedef void (*f) (void);\nextern f planner_hook;\nvoid\ndp_install(void)\n{\n\tplanner_hook = 0;\n}\n' | append src/crypto/low.c
sees one-door "a second chain of a hook"

printf 'typedef struct DpSubscriber { int starting; } DpSubscriber;\nextern const void *dp_low_told;\nstatic const DpSubscriber subscriber = {\n\t.starting = 0,\n};\nconst void *dp_low_told = &subscriber;\n' | append src/crypto/low.c
sees subscribers "a subscriber that the map does not have"

mkdir "$tree/src/misc"
echo 'extern int x;' >"$tree/src/misc/x.h"
sees layer-include "a file in no layer"

printf 'extern int dp_high(int x);\nint\ndp_back(int x)\n{\n\treturn dp_high(x);\n}\n' | append src/crypto/low.c
sees layer-call "a call into a higher layer by its own declaration"

mkdir "$tree/src/access"
echo 'int dp_new;' >"$tree/src/access/new.c"
if "$pgxs/lint.pl" --tree "$tree" layer-call >/dev/null 2>&1; then
	echo "FAILED lint selftest layer-call: passes where nothing was compiled"
	failed=$((failed + 1))
else
	echo "ok     lint selftest layer-call: does not pass where nothing was compiled"
	passed=$((passed + 1))
fi
clean_tree

cat >"$tree/src/crypto/other.c" <<'END'
extern int dp_low(int x);
extern int dp_other(int x);

int
dp_other(int x)
{
	return dp_low(x);
}
END
printf 'extern int dp_other(int x);\nint\ndp_round(int x)\n{\n\treturn dp_other(x);\n}\n' | append src/crypto/low.c
sees circles "two files of a folder that call each other"

for i in 1 2 3; do
	printf 'extern int dp_ring%s(void);\nint\ndp_ring%s(void)\n{\n\treturn dp_ring%s();\n}\n' \
		"$((i % 3 + 1))" "$i" "$((i % 3 + 1))" >"$tree/src/keys/ring$i.c"
done
sees circles "three files of a folder in a ring"

echo '/* tests dp_guc_init() */' >"$tree/test/unit/both.c"
sees needless-export "a function that no other file uses"

mkdir "$tree/src/access"
echo 'extern int dp_again;' >"$tree/src/access/low.h"
sees same-name "a file with the name of another folder's"

echo 'int dp_unlisted;' >"$tree/src/keys/unlisted.c"
sees object-lists "a source that no list names"

echo 'SELECT 1;' >"$tree/src/keys/20_unlisted.sql"
sees object-lists "a piece of install SQL that no list names"

echo 'OBJS = src/keys/high.o src/base/guc.o src/crypto/low.o src/keys/high.o' >>"$tree/Makefile"
sed -i '/^OBJS = \\$/,/high.o$/d' "$tree/Makefile"
sees object-lists "an object that stands in the list twice"

sed -i 's/low.o/low.o gone.o/' "$tree/Makefile"
sees object-lists "an object without a source"

xact_callback()
{
	cat <<END
typedef enum { AT_COMMIT, AT_PREPARE } XactEvent;
extern void RegisterXactCallback(void (*callback) (XactEvent event));
static void
at_end(XactEvent event)
{
$1
}
void		dp_xact_init(void);

void
dp_xact_init(void)
{
	RegisterXactCallback(at_end);
}
END
}

xact_callback '	switch (event)
	{
		case AT_COMMIT:
			break;
		default:
			break;
	}' | append src/keys/high.c
sees xact-events "a transaction callback that passes over events"

xact_callback '	if (event != AT_COMMIT)
		return;' | append src/keys/high.c
sees xact-events "a transaction callback without a switch"

printf 'extern int RAND_bytes(void *b, int n);\nextern int dp_r(void);\nint\ndp_r(void)\n{\n\treturn RAND_bytes(0, 0);\n}\n' | append src/keys/high.c
sees foreign-library "an OpenSSL call outside crypto"

printf 'extern int curl_easy_init(void);\nint\ndp_c(void)\n{\n\treturn curl_easy_init();\n}\n' | append src/keys/high.c
sees foreign-library "a libcurl call outside kms"

for call in 'strcpy(a, b)' 'sprintf(a, b)' 'strcat(a, b)' 'system(a)' 'popen(a, b)' 'rand()' 'random()' 'CacheRegisterRelcacheCallback(a)'; do
	printf '#define dp_f(a, b) %s\n' "$call" | append src/keys/high.c
	sees banned-call "$call"
done

echo '#define dp_same(a, tag_len) memcmp(a, expected_tag, tag_len);' | append src/keys/high.c
sees secret-compare "memcmp of a tag"

printf '#if PG_VERSION_NUM >= 160000\n#endif\n' | append src/keys/high.c
sees version-test "a version test outside compat.h"

printf '#define VARSIZE(p) 0\nint\tdp_size = VARSIZE(0);\n' | append src/keys/high.c
sees moved-macros "a varlena macro without base/compat.h"

sed -i 's/a_first/c_third/' "$tree/src/base/guc.c"
sees guc-order "settings out of order"

printf 'extern void DefineCustomIntVariable(const char *name);\n#define dp_g() DefineCustomIntVariable("dataprotect.z")\n' | append src/keys/high.c
sees guc-order "a setting defined elsewhere"

sed -i '/MarkGUCPrefixReserved("/d' "$tree/src/base/guc.c"
sees guc-order "a prefix that is not reserved"

printf '#include <string.h>\nextern size_t dp_apart(const char *text);\nsize_t\ndp_apart(const char *text)\n{\n\treturn strcspn(text, ":");\n}\n' | append src/keys/high.c
sees fuzzed "a parser that is not fuzzed"

mkdir -p "$tree/test/fuzz"
echo '| `keys/high.c` | nothing | nobody |' >"$tree/test/fuzz/README.md"
sees fuzzed "a list of parsers that names what is none"

echo 'Nothing.' >"$tree/README.md"
sees guc-documented "a setting that README.md does not name"

echo '#define dp_e() ereport(ERROR, (errmsg("went wrong")))' | append src/keys/high.c
sees message-style "an error without an SQLSTATE"

echo '#define dp_e() ereport(ERROR, (errcode(1), errmsg("Went wrong")))' | append src/keys/high.c
sees message-style "a message with a capital"

echo '#define dp_e() ereport(ERROR, (errcode(1), errmsg("went wrong.")))' | append src/keys/high.c
sees message-style "a message with a full stop"

echo '#define dp_e() ereport(ERROR, (errcode(1), errmsg("went wrong"), errhint("try again")))' | append src/keys/high.c
sees message-style "a hint that is not a sentence"

echo 'DO $x$ BEGIN RAISE EXCEPTION $y$no$y$; END $x$;' | append src/keys/10_thing.sql
sees install-sql "an error without a condition"

echo 'CREATE OR REPLACE FUNCTION dataprotect.f() RETURNS int LANGUAGE sql RETURN 1;' | append src/keys/10_thing.sql
sees install-sql "CREATE OR REPLACE"

echo 'CREATE TABLE naked (id int);' | append src/keys/10_thing.sql
sees install-sql "a table without its schema"

echo 'CREATE TABLE IF NOT EXISTS dataprotect.t (id int);' | append src/keys/10_thing.sql
sees install-sql "IF NOT EXISTS"

echo 'GRANT SELECT ON dataprotect.t TO PUBLIC;' | append src/keys/10_thing.sql
sees install-sql "a privilege given beside the list"

printf 'CREATE TABLE dataprotect.t (v text DEFAULT \047\342\200\231\047);\n' | append src/keys/10_thing.sql
sees install-sql "a character that not every encoding has"

echo 'EXTVERSION = 0.1.0' >"$tree/Makefile"
sees versions-agree "a Makefile of another version"

echo '{"version": "0.1.0", "provides": {"dataprotect": {"version": "0.2.0"}}}' >"$tree/META.json"
sees versions-agree "a META.json of another version"

printf '\n## [0.1.0] - 2026-01-02\n' | append CHANGELOG.md
sees upgrade-path "a release that is not kept"

printf '## [0.2.0] - 2026-01-02\n' >"$tree/CHANGELOG.md"
keep_release 0.2.0
echo 'CREATE VIEW dataprotect.later AS SELECT 1;' | append src/keys/10_thing.sql
sees upgrade-path "a release whose install SQL changes"

printf '\n## [0.1.0] - 2026-01-02\n' | append CHANGELOG.md
keep_release 0.1.0
echo 'CREATE TABLE dataprotect.thing (id int, more int NOT NULL);' >"$tree/src/keys/10_thing.sql"
sees upgrade-path "a table that changes without an upgrade script"

echo 'SELECT 2;' >"$tree/sql/two.sql"
sees regress-pairs "a test without its expected output"

echo 'SELECT 2;' >"$tree/expected/two.out"
sees regress-pairs "an expected output without its test"

printf '/* %s: later */\n' "TO""DO" | append src/keys/high.c
sees leftovers "a leftover mark"

printf 'int\tdp_x; \n' | append src/keys/high.c
sees leftovers "white space at the end of a line"

# Long files and functions are warnings: seen, but not red.
{
	printf 'extern int dp_long(int x);\nint\ndp_long(int x)\n{\n'
	i=0
	while [ $i -lt 650 ]; do
		echo '	x++;'
		i=$((i + 1))
	done
	printf '\treturn x;\n}\n'
} >"$tree/src/keys/long.c"
compile
if [ "$("$pgxs/lint.pl" --tree "$tree" size | grep -c 'warning:')" -eq 2 ]; then
	echo "ok     lint selftest size: warns of a long file and a long function"
	passed=$((passed + 1))
else
	echo "FAILED lint selftest size: does not warn"
	failed=$((failed + 1))
fi

# No rule without a violation above.
for rule in $(sed -n "s/^	\[ '\([a-z-]*\)', .*/\1/p" "$pgxs/lint.pl"); do
	if grep -Eq "^	?sees $rule |selftest $rule:" "$0"; then
		continue
	fi
	echo "FAILED lint selftest $rule: no violation is tried"
	failed=$((failed + 1))
done

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
