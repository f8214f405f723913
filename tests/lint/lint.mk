# SPDX-License-Identifier: Apache-2.0
#
# make lint: the layout, clang-tidy, cppcheck, shellcheck, the arrows between rooms, licences.
# clang-tidy leaves a stamp beside each object file and looks again when that was rebuilt, which is
# when the source or a header of its changed.

C_FILES := $(sort $(wildcard src/*/*.[ch] fs/*.[ch] cli/*.[ch] kernels/*.[ch] kernels/*/*.[ch] \
             tests/*/*.[ch] examples/*.[ch]))
# (clang 14 does not know every name of a processor's feature that gcc knows)
TIDY    := $(patsubst %.c,$(BUILD)/lint/%.tidy,$(filter-out kernels/cpu/kernels_avx%.c, \
             $(SOURCES) $(wildcard tests/unit/*.c tests/lib/*.c tests/helpers/*.c)))
SCRIPTS := $(shell git grep -lE '^\#!.*[/ ](ba)?sh$$' 2>/dev/null)
PYTHON  := $(shell git grep -lE '^\#!.*python3$$' 2>/dev/null)

.PHONY: lint-layout lint-cppcheck lint-scripts lint-arrows
lint: lint-layout lint-arrows lint-scripts lint-cppcheck $(TIDY)

lint-layout:
	@echo "  LINT clang-format"
	@bad=0; for f in $(C_FILES); do clang-format --dry-run -Werror $$f >/dev/null 2>&1 || \
	    { echo "$$f: not as clang-format would lay it out (make format)"; bad=1; }; done; exit $$bad

lint-arrows:
	@echo "  LINT arrows, licences"
	@tests/lint/arrows
	@tests/lint/spdx

lint-scripts:
	@echo "  LINT shellcheck, python"
	@shellcheck -x $(SCRIPTS)
	@PYTHONPYCACHEPREFIX=$(BUILD)/lint python3 -m py_compile $(PYTHON)

lint-cppcheck:
	@echo "  LINT cppcheck"
	@mkdir -p $(BUILD)/lint/cppcheck
	@cppcheck -q -j 2 --std=c11 --enable=warning,performance,portability --inline-suppr \
	    --suppressions-list=tests/lint/cppcheck.txt --error-exitcode=1 \
	    --cppcheck-build-dir=$(BUILD)/lint/cppcheck -Isrc -I. -D_GNU_SOURCE $(SOURCES)

# clang does not know some of gcc's warnings, and needs none of them here.
TIDY_FLAGS = $(filter-out $(WARN),$(ALL_CFLAGS)) $(ISA)
$(BUILD)/lint/%.tidy: $(BUILD)/%.o .clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY $*.c"
	$(Q)clang-tidy --quiet $*.c -- $(TIDY_FLAGS) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@
$(BUILD)/lint/%_avx2.tidy: ISA := $(ISA_avx2)
$(BUILD)/lint/%_avx512.tidy: ISA := $(ISA_avx512)

format:
	@clang-format -i $(C_FILES)
