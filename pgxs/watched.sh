# For sanitize.sh and valgrind.sh, which source it: servers whose every process runs
# under a tool.

# watch_server DIR PG_CONFIG COMMAND...: makes DIR/bin, PostgreSQL's programs with a
# postgres that is run by the command, and DIR/pg_config, which names it.  initdb, which
# finds PostgreSQL's own program, runs without; pg_ctl and pg_config, which follow links to
# where that is, are told.
watch_server()
{
	watched=$1
	watched_config=$2
	shift 2
	watched_bindir=$("$watched_config" --bindir)
	mkdir "$watched/bin"
	for program in "$watched_bindir"/*; do
		ln -s "$program" "$watched/bin/"
	done
	rm "$watched/bin/postgres" "$watched/bin/pg_ctl"
	cat >"$watched/bin/postgres" <<END
#!/bin/sh
exec $* "$watched_bindir/postgres" "\$@"
END
	cat >"$watched/bin/pg_ctl" <<END
#!/bin/sh
exec "$watched_bindir/pg_ctl" -p "$watched/bin/postgres" "\$@"
END
	cat >"$watched/pg_config" <<END
#!/bin/sh
[ "\$*" = --bindir ] && echo "$watched/bin" || exec "$watched_config" "\$@"
END
	chmod 755 "$watched/bin" "$watched/bin/postgres" "$watched/bin/pg_ctl" "$watched/pg_config"
}

# sort_tests TEST...: names of sql/ to $sql, paths of TAP files to $tap
sort_tests()
{
	sql=
	tap=
	for test in "$@"; do
		case $test in
			*.pl) tap="$tap $test" ;;
			*) sql="$sql $test" ;;
		esac
	done
}
