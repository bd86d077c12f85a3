# Targets beside those of PGXS.  Each is a script that can be run by itself;
# those that need a server make a throw-away one on $(PG_CONFIG), which must be
# a private copy that the extension was installed into (pgxs/prefix.sh), never
# the system's PostgreSQL.

# Debian's PostgreSQL is built without dependency tracking: an object is older
# than any header it might include.
$(OBJS) $(OBJS:.o=.bc): $(wildcard $(srcdir)/src/*/*.h)

DP_SCRIPTS = $(srcdir)/pgxs

export PG_CONFIG

.PHONY: lint lint-catalog format format-check analyse unit reference fuzz regress isolation resolve tap attack stress soak topologies clients pgsuites bench sanitize valgrind fault check-all

lint: all
	$(DP_SCRIPTS)/lint.pl --tree $(srcdir)
	$(DP_SCRIPTS)/lint_selftest.sh

lint-catalog:
	$(DP_SCRIPTS)/lint_catalog.sh
	$(DP_SCRIPTS)/lint_catalog.sh --selftest

# doc/catalog.md, of the installed extension.
reference:
	$(DP_SCRIPTS)/reference.sh

format: all
	$(DP_SCRIPTS)/format.sh

format-check: all
	$(DP_SCRIPTS)/format.sh --check

analyse:
	$(DP_SCRIPTS)/analyse.sh

unit:
	$(srcdir)/test/unit/run.sh

fuzz:
	$(srcdir)/test/fuzz/run.sh

regress:
	$(DP_SCRIPTS)/regress.sh regress $(TESTS)

isolation:
	$(DP_SCRIPTS)/regress.sh isolation $(TESTS)

resolve:
	$(srcdir)/test/resolve/run.sh

tap:
	$(srcdir)/test/tap.sh $(or $(TESTS),$(wildcard $(srcdir)/test/tap/*.pl))

attack:
	$(srcdir)/test/tap.sh $(or $(TESTS),$(wildcard $(srcdir)/test/attack/*.pl))

# Takes as long as it takes, and is no part of CI; settings are in the files' heads.
stress:
	$(srcdir)/test/tap.sh $(or $(TESTS),$(wildcard $(srcdir)/test/stress/*.pl))

# Half an hour of everything at once; no part of CI.
soak:
	$(srcdir)/test/tap.sh $(or $(TESTS),$(wildcard $(srcdir)/test/soak/*.pl))

# With the real parts that are there; no part of CI.
topologies:
	$(srcdir)/test/tap.sh $(or $(TESTS),$(wildcard $(srcdir)/test/topology/*.pl))

clients:
	$(srcdir)/test/clients/run.sh

# PostgreSQL's own suites, of its source package: PARTS="core isolation swapped".
pgsuites:
	$(srcdir)/test/pg/run.sh $(PARTS)

bench:
	$(srcdir)/test/bench/run.sh

fault:
	$(srcdir)/test/fault/run.sh

valgrind:
	$(DP_SCRIPTS)/valgrind.sh $(TESTS)

# TESTS: names of sql/, paths of TAP files.
sanitize:
	$(DP_SCRIPTS)/sanitize.sh $(TESTS)

check-all:
	$(srcdir)/test/run.sh
