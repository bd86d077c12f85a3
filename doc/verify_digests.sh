#!/bin/sh
# Verify a downloaded audit log against the signed digests that were downloaded
# with it, without the database and without its host.  Needs openssl (3 or newer),
# awk, sed and sort.
#
#	verify_digests.sh [-k KMS-KEY.pem] PUBLIC-KEY.pem FILE...
#
# PUBLIC-KEY.pem: what dataprotect.digest_public_pem() gave, taken off the host when
# digests were set up.  KMS-KEY.pem: the public key of the KMS root that signs them as
# well (dataprotect.digest_kms_public_pem(), or from the KMS itself): then the newest
# digest must carry its signature, which vouches for all before it.  FILE: lines as a sink was sent them (JSON lines, or the same
# gzip'd), records and digests in any order, from any number of places: the digests
# from where nobody of the host can write, the log perhaps from the host itself
# (psql -Atc 'SELECT line FROM dataprotect.audit_lines').  One database's at a time.
#
# Prints what does not fit, one finding a line, and a summary; exits with 1 where
# anything was found, with 2 where it cannot tell.
set -eu

kms_key=
if [ "${1:-}" = -k ] && [ $# -ge 2 ]; then
	kms_key=$2
	shift 2
fi
[ $# -ge 2 ] || { echo "usage: verify_digests.sh [-k KMS-KEY.pem] PUBLIC-KEY.pem FILE..." >&2; exit 2; }
key=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tab=$(printf '\t')
for file in "$key" ${kms_key:+"$kms_key"}; do
	openssl pkey -pubin -in "$file" -noout 2>/dev/null || { echo "no public key: $file" >&2; exit 2; }
done
kms_options=
if [ -n "$kms_key" ]; then
	case $(openssl pkey -pubin -in "$kms_key" -noout -text | tr '\n' ' ') in
		*ED25519*) ;;
		*P-384*) kms_options='-digest sha384' ;;
		*P-521*) kms_options='-digest sha512' ;;
		*P-256*) kms_options='-digest sha256' ;;
		*) kms_options='-digest sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:auto' ;;
	esac
fi
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
handed=0
kms_id=
last_id=
last_to=
last_hash=
last_statements=0
last_root=
while IFS=$tab read -r id line; do
	count=$((count + 1))
	# what the KMS says stands behind what the database says
	kms=$(printf '%s\n' "$line" | sed -n 's/.*,"kms":{"algorithm":"[^"]*","version":[0-9]*,"signature":"\([^"]*\)".*/\1/p')
	line=$(printf '%s\n' "$line" | sed 's/,"kms":{"algorithm".*$/}/')
	printf '%s\n' "$line" | sed 's/^{"digest":\(.*\),"signature":"[^"]*"}$/\1/' | tr -d '\n' >"$work/document"
	printf '%s\n' "$line" | sed 's/.*,"signature":"\([^"]*\)"}$/\1/' | openssl base64 -d -A >"$work/signature"
	# another key took the place of the one before, which says so
	if [ -n "$(member public)" ]; then
		printf 'dataprotect digest key %s %s %s' "$(member log)" "$id" "$(member public)" >"$work/handed"
		printf '%s' "$(member by)" | openssl base64 -d -A >"$work/by"
		if openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$work/handed" -sigfile "$work/by" >/dev/null 2>&1; then
			printf -- '-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA%s\n-----END PUBLIC KEY-----\n' "$(member public)" >"$work/key.pem"
			key=$work/key.pem
			handed=$((handed + 1))
		elif [ "$(openssl pkey -pubin -in "$key" -outform DER | tail -c 32 | openssl base64 -A)" != "$(member public)" ]; then
			found "digest $id: the key before does not say that it is signed by another from here on"
			continue
		fi
	fi
	if ! openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$work/document" -sigfile "$work/signature" >/dev/null 2>&1; then
		found "digest $id: the signature is not that of the key"
		continue
	fi
	if [ -n "$kms_key" ] && [ -n "$kms" ]; then
		printf '%s' "$kms" | openssl base64 -d -A >"$work/signature"
		openssl dgst -sha256 -binary <"$work/document" >"$work/hash"
		# shellcheck disable=SC2086
		if openssl pkeyutl -verify -pubin -inkey "$kms_key" -rawin $kms_options -in "$work/hash" -sigfile "$work/signature" >/dev/null 2>&1; then
			kms_id=$id
		else
			found "digest $id: the signature of the KMS is not that of the key"
		fi
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

[ -z "$kms_key" ] || [ "$kms_id" = "$last_id" ] ||
	found "no signature of the KMS vouches for the digests after ${kms_id:-the first}"
later=$(awk -F "$tab" -v to="${last_to:-0}" '$1 + 0 > to + 0 { n++ } END { print n + 0 }' "$work/records")
echo "$count digests, $(wc -l <"$work/records") records, $later of them younger than the last digest, $(wc -l <"$work/found") findings"
[ ! -s "$work/found" ]
