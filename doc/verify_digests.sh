#!/bin/sh
# Verify a downloaded audit log against the signed digests that were downloaded
# with it, without the database and without its host.  Needs openssl (3 or newer),
# awk, sed and sort.
#
#	verify_digests.sh PUBLIC-KEY.pem FILE...
#
# PUBLIC-KEY.pem: what dataprotect.digest_public_pem() gave, taken off the host when
# digests were set up.  FILE: lines as a sink was sent them (JSON lines, or the same
# gzip'd), records and digests in any order, from any number of places: the digests
# from where nobody of the host can write, the log perhaps from the host itself
# (psql -Atc 'SELECT line FROM dataprotect.audit_lines').  One database's at a time.
#
# Prints what does not fit, one finding a line, and a summary; exits with 1 where
# anything was found, with 2 where it cannot tell.
set -eu

[ $# -ge 2 ] || { echo "usage: verify_digests.sh PUBLIC-KEY.pem FILE..." >&2; exit 2; }
key=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tab=$(printf '\t')
openssl pkey -pubin -in "$key" -noout 2>/dev/null || { echo "no public key: $key" >&2; exit 2; }
: >"$work/found"
LC_ALL=C
export LC_ALL

found()
{
	echo "$*"
	echo "$*" >>"$work/found"
}

for file in "$@"; do
	case $file in
		*.gz) gzip -dc "$file" ;;
		*) cat "$file" ;;
	esac
done >"$work/all"

# number TAB line, once each; two different lines of one number are a finding.
sed -n 's/^{"metadata":{"sequence":\([0-9]*\),.*/\1'"$tab"'&/p' "$work/all" | sort -t "$tab" -k1,1n -k2 -u >"$work/records"
sed -n 's/^{"digest":{"version":1,"log":"[^"]*","id":\([0-9]*\),.*/\1'"$tab"'&/p' "$work/all" | sort -t "$tab" -k1,1n -k2 -u >"$work/digests"
for what in records digests; do
	cut -f 1 "$work/$what" | uniq -d | while read -r number; do
		found "two different ${what%s}s have the number $number"
	done
done
[ -s "$work/digests" ] || { echo "there is no digest in these files" >&2; exit 2; }
if [ "$(sed -n 's/^[^{]*{"digest":{"version":1,"log":"\([^"]*\)".*/\1/p' "$work/digests" | sort -u | wc -l)" -ne 1 ]; then
	echo "these are digests of several logs: verify one at a time" >&2
	exit 2
fi

member()
{
	sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' "$work/document"
}

count=0
last_id=
last_to=
last_hash=
last_statements=0
last_root=
while IFS=$tab read -r id line; do
	count=$((count + 1))
	printf '%s\n' "$line" | sed 's/^{"digest":\(.*\),"signature":"[^"]*"}$/\1/' | tr -d '\n' >"$work/document"
	printf '%s\n' "$line" | sed 's/.*,"signature":"\([^"]*\)"}$/\1/' | openssl base64 -d -A >"$work/signature"
	if ! openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$work/document" -sigfile "$work/signature" >/dev/null 2>&1; then
		found "digest $id: the signature is not that of the key"
		continue
	fi
	from=$(member from)
	to=$(member to)
	if [ -n "$last_id" ]; then
		if [ "$id" -eq $((last_id + 1)) ]; then
			[ "$(member previous)" = "$last_hash" ] || found "digest $id: it does not follow the digest $last_id that is here"
			[ "$from" -eq $((last_to + 1)) ] || found "digest $id: it begins with record $from, and the one before it ends with $last_to"
		elif [ "$id" -ne "$last_id" ]; then
			found "digests $((last_id + 1)) to $((id - 1)) are not here"
		fi
	fi
	awk -F "$tab" -v from="$from" -v to="$to" '$1 + 0 > to + 0 { exit } $1 + 0 >= from + 0 { sub(/^[0-9]*\t/, ""); print }' \
		"$work/records" >"$work/slice"
	here=$(wc -l <"$work/slice")
	[ "$(member records)" -eq $((to - from + 1)) ] ||
		found "digest $id: of the records $from to $to there were $(member records) when it was made"
	if [ "$here" -eq 0 ] && [ "$to" -ge "$from" ]; then
		found "digest $id: none of the records $from to $to is here"
	elif [ "$here" -ne "$(member records)" ]; then
		found "digest $id: of $(member records) records $from to $to, $here are here"
	elif [ "$(openssl dgst -sha256 -r <"$work/slice" | cut -d ' ' -f 1)" != "$(member sha256)" ]; then
		found "digest $id: a record between $from and $to is not as it was when the digest was made"
	fi
	statements=$(member statements)
	[ "$(member intact)" = true ] || found "digest $id: the journal of policy was not intact"
	if [ "$statements" -lt "$last_statements" ]; then
		found "digest $id: policy was put back from $last_statements statements to $statements"
	elif [ "$statements" -eq "$last_statements" ] && [ -n "$last_root" ] && [ "$(member root)" != "$last_root" ]; then
		found "digest $id: policy changed without a statement of the extension"
	elif [ "$statements" -gt "$last_statements" ] && [ -n "$last_root" ] && ! grep -q '"kind":"act"' "$work/slice"; then
		echo "note: digest $id: policy changed, and its records tell of no act; those beside it may"
	fi
	last_id=$id
	last_to=$to
	last_hash=$(openssl dgst -sha256 -r <"$work/document" | cut -d ' ' -f 1)
	last_statements=$statements
	last_root=$(member root)
done <"$work/digests"

later=$(awk -F "$tab" -v to="${last_to:-0}" '$1 + 0 > to + 0 { n++ } END { print n + 0 }' "$work/records")
echo "$count digests, $(wc -l <"$work/records") records, $later of them younger than the last digest, $(wc -l <"$work/found") findings"
[ ! -s "$work/found" ]
