# SPDX-License-Identifier: Apache-2.0
#
# make            build everything into $(BUILD)
# make help       the other targets
#
# A source file belongs to the room (folder) that it lies in; each room is one static library.
# Files named *_avx2.c and *_avx512.c are compiled with those instructions and only on x86-64.

BUILD   ?= build
CC      ?= gcc
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
DESTDIR ?=
Q       := $(if $(V),,@)

ARCH     := $(shell uname -m)
PACKAGES := fuse3 lmdb libxxhash libpcre2-8 libseccomp jansson
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
        -Wwrite-strings -Wvla -Wundef -Wformat=2 -Werror
ISA        := $(if $(filter x86_64,$(ARCH)),-march=x86-64-v2)
ISA_avx2   := -march=x86-64-v3
ISA_avx512 := -march=x86-64-v4 -mavx512vnni
SAN_FLAGS  := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)

ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DFUSE_USE_VERSION=314 -pthread -fno-strict-aliasing \
             -ffp-contract=off -fstack-protector-strong $(WARN) -Isrc -I. $(PKG_CFLAGS) $(SAN_FLAGS) $(CFLAGS)
ALL_LDFLAGS = -pthread $(SAN_FLAGS) -Wl,-z,relro,-z,now $(LDFLAGS)


# Sources ------------------------------------------------------------------------------------------
MAINS    := cli/main.c src/engine/main.c
SOURCES  := $(wildcard src/*/*.c fs/*.c cli/*.c kernels/cpu/*.c)
ifneq ($(ARCH),x86_64)
SOURCES  := $(filter-out %_avx2.c %_avx512.c,$(SOURCES))
endif
OBJECTS  := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(MAINS),$(SOURCES)))
LIB      := $(BUILD)/libllmosfs.a
PROGRAMS := $(BUILD)/llmosfs $(BUILD)/llmosfs-engine
UNIT     := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
FUZZERS  := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
HELPERS  := $(patsubst tests/helpers/%.c,$(BUILD)/tests/helpers/%,$(wildcard tests/helpers/*.c))
BENCHES  := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(wildcard tests/bench/*.c))
TESTLIB  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/lib/*.c))

.PHONY: all programs tests fuzzers
all: programs
programs: $(PROGRAMS)
tests: programs $(UNIT) $(HELPERS)
fuzzers: $(FUZZERS)

$(BUILD)/llmosfs: $(BUILD)/cli/main.o $(LIB)
$(BUILD)/llmosfs-engine: $(BUILD)/src/engine/main.o $(LIB)
$(PROGRAMS):
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

$(LIB): $(OBJECTS)
	@echo "  AR   $@"
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%_avx2.o: ISA := $(ISA_avx2)
$(BUILD)/%_avx512.o: ISA := $(ISA_avx512)
$(BUILD)/kernels/%.o: OPT := -O3
$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(ALL_CFLAGS) $(OPT) $(ISA) -MMD -MP -c -o $@ $<

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(TESTLIB) $(LIB)
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka -lm
$(BUILD)/tests/helpers/%: $(BUILD)/tests/helpers/%.o $(TESTLIB) $(LIB)
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka -lm
$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(TESTLIB) $(LIB)
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(PKG_LIBS) -lcmocka -lm
$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(TESTLIB) $(LIB)
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka -lm

.SECONDARY: # object files of tests are kept
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# What people type ---------------------------------------------------------------------------------
# T="conv prompt" chooses tests whose names contain one of these words.
.PHONY: help deps models quickstart check test asan ubsan tsan bench fuzz format lint install uninstall clean

help:
	@echo "make quickstart   install what is needed, build, fetch a small model, mount it, ask it (README)"
	@echo "make check        install what the tests need, fetch the models, build, run all tests"
	@echo "make              build build/llmosfs and build/llmosfs-engine"
	@echo "make test         run the tests; T=\"word …\" chooses by name"
	@echo "make asan ubsan tsan   the same with a sanitizer, in build/asan …"
	@echo "make lint format  check the sources; lay them out with clang-format"
	@echo "make bench        speed through the files against the engine's own; LLAMA_BENCH=path adds llama.cpp"
	@echo "make fuzz         fuzz the parsers, each for FUZZ_SECONDS (60)"
	@echo "make models       fetch the models of the tests into the cache"
	@echo "make deps         install the Debian packages of .ci/packages"
	@echo "make install uninstall clean   PREFIX=/usr/local, DESTDIR="

deps:
	@.ci/deps build run test lint
models:
	@cli/fetch-models
quickstart:
	@cli/quickstart
check:
	@.ci/deps build run test
	@cli/fetch-models
	@$(MAKE) -s tests
	@$(MAKE) -s test

test: tests
	@BUILD=$(BUILD) tests/run -j 2 $(T)

asan:  SANITIZER := address
ubsan: SANITIZER := undefined
tsan:  SANITIZER := thread
asan ubsan tsan:
	@tests/lint/sanitized $(SANITIZER) $(MAKE) test BUILD=build/$@ SAN=$(SANITIZER)

bench: programs $(BENCHES)
	@BUILD=$(BUILD) tests/bench/run

FUZZ_SECONDS ?= 60
fuzz:
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run

include tests/lint/lint.mk

# Installing ---------------------------------------------------------------------------------------
# fstab and `mount -t fuse.llmosfs` look for the helper in /sbin alone.
MAN  := $(wildcard cli/man/*.[1-9])
DEST := $(DESTDIR)$(PREFIX)
install: programs
	install -D -t $(DEST)/bin $(BUILD)/llmosfs
	install -D -t $(DEST)/lib/llmosfs $(BUILD)/llmosfs-engine
	for m in $(MAN); do install -D -m 644 -t $(DEST)/share/man/man$${m##*.} $$m || exit; done
	install -d $(DEST)/lib/systemd/system
	sed "s,/usr/local,$(PREFIX),g" cli/units/llmosfs.service >$(DEST)/lib/systemd/system/llmosfs.service
	install -d $(DESTDIR)/sbin
	ln -sfn $(PREFIX)/bin/llmosfs $(DESTDIR)/sbin/mount.fuse.llmosfs
uninstall:
	rm -f $(DEST)/bin/llmosfs $(DEST)/lib/llmosfs/llmosfs-engine $(DESTDIR)/sbin/mount.fuse.llmosfs
	rm -f $(DEST)/lib/systemd/system/llmosfs.service
	for m in $(notdir $(MAN)); do rm -f $(DEST)/share/man/man$${m##*.}/$$m; done
	rmdir $(DEST)/lib/llmosfs 2>/dev/null || true

clean:
	rm -rf build
