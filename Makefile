# dataprotect: the object list reads as the architecture, lowest layer first.
# A file includes only from its own folder and from the folders above it here.
EXTENSION   = dataprotect
EXTVERSION  = 0.1.0
MODULE_big  = dataprotect
PGFILEDESC  = "dataprotect - encrypted columns, audit, retention, deletion"

LAYERS = base crypto events kms keys access audit types lifecycle
OBJS   = $(foreach layer,$(LAYERS),$(sort $(patsubst %.c,%.o,$(wildcard src/$(layer)/*.c)))) \
         src/dataprotect.o

# Install SQL by topic: each folder's pieces, in the order of the layers.
SQL_PARTS = $(foreach layer,$(LAYERS),$(sort $(wildcard src/$(layer)/*.sql)))

DATA_built   = $(EXTENSION)--$(EXTVERSION).sql
EXTRA_CLEAN  = $(EXTENSION)--$(EXTVERSION).sql

REGRESS      = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
REGRESS_OPTS = --inputdir=. --temp-config=test/regress.conf
TAP_TESTS    = 1
PROVE_TESTS  = test/tap/*.pl

DP_CFLAGS   = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
              -Wno-missing-field-initializers -fstack-protector-strong
PG_CPPFLAGS = -I$(srcdir)/src
# Calls within the library are direct: nothing is meant to take their place.
PG_CFLAGS   = $(DP_CFLAGS) -fno-semantic-interposition $(COPT_DP)
SHLIB_LINK  = -lcrypto -lcurl -ldl -Wl,-Bsymbolic -Wl,-z,relro,-z,now

PG_CONFIG  ?= pg_config
PGXS       := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) Makefile
	{ printf '%s\n' '\echo Use "CREATE EXTENSION dataprotect" to load this file. \quit'; \
	  cat $(SQL_PARTS); } > $@

include $(srcdir)/pgxs/targets.mk
