# SPDX-License-Identifier: Apache-2.0
#
# make            build everything into $(BUILD)
# make help       the targets
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

# Rooms, in the order in which they may know each other (the linker wants users first).
ROOMS_DAEMON := cli fs src/runtime src/store src/proto src/base
ROOMS_ENGINE := src/engine src/model src/proto kernels/cpu src/base

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
HELPERS  := $(patsubst tests/helpers/%.c,$(BUILD)/tests/helpers/%,$(wildcard tests/helpers/*.c))
TESTLIB  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/lib/*.c))

.PHONY: all programs tests clean
all: programs
programs: $(PROGRAMS)
tests: programs $(UNIT) $(HELPERS)

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
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

clean:
	rm -rf build
