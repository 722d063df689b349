# SPDX-License-Identifier: MIT
# `make help` lists the targets

CC         ?= cc
PKG_CONFIG ?= pkg-config
PYTHON     ?= python3
SAN        ?=
# How many tests run at a time: they wait more than they compute
JOBS       ?= 4
ROOMS      := req_rep pub_sub push_pull router_dealer traps tools
LESSONS    := $(filter-out traps tools,$(ROOMS))

# AddressSanitizer keeps up to 256 MB of freed memory in quarantine: too much for tests that measure memory
export ASAN_OPTIONS ?= quarantine_size_mb=16

# A sanitizer build has its own folder: build-address-undefined
comma := ,
BUILD ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))

# msgpack-c is called msgpack-c from its version 6 on, and msgpack before
MSGPACK := $(firstword $(foreach p,msgpack-c msgpack,$(shell $(PKG_CONFIG) --exists $p 2>/dev/null && echo $p)))
# libczmq's own --libs leaves -lzmq out, so ask for both
PACKAGES := libczmq libzmq $(or $(MSGPACK),msgpack-c)

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wformat=2 -Wconversion
CFLAGS   ?= -O2 -g
CPPFLAGS += -D_XOPEN_SOURCE=700
# A lesson sees common/ and its own folder, all other programs see the modules of the tools
INCLUDES  = -Itools
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
WERROR   ?=
COMPILE   = $(CC) -std=c11 -pthread $(WARNINGS) $(if $(WERROR),-Werror) $(CPPFLAGS) $(INCLUDES) $(PKG_CFLAGS) $(SANFLAGS) $(CFLAGS)
LINK      = $(CC) -pthread $(SANFLAGS) $(LDFLAGS)

# `make V=1` shows the commands
Q := $(if $(V),,@)

# Evaluated once, and only when something is built
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES)))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES)))$(PKG_LIBS)

# A .c file with a header beside it is a module of its room; any other is a program
SOURCES  := $(sort $(wildcard $(ROOMS:%=%/*.c)))
MODULES  := $(filter $(patsubst %.h,%.c,$(wildcard $(ROOMS:%=%/*.h))),$(SOURCES))
PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(filter-out $(MODULES),$(SOURCES)))
WITH_TOOLS := $(BUILD)/traps/% $(BUILD)/tools/%
# The modules of the tools are an archive: a program is linked with those that it calls
PARTS    := $(sort $(wildcard tools/lib/*.c tools/kv/*.c tools/engine/*.c))
TOOLS_A  := $(BUILD)/tools/tools.a
SCRIPTS  := $(patsubst %.c,$(BUILD)/%,$(wildcard scripts/*.c))
EXPLORERS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/tools/explore/*.c))
UNITS    := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/tools/unit/*.c tests/lessons/unit/*.c))
BENCHES  := $(patsubst %.c,$(BUILD)/%,$(wildcard bench/*.c))
FUZZERS  := $(basename $(wildcard tests/tools/fuzz/*.c tests/lessons/fuzz/*.c tests/trace/fuzz/*.c))
# The modules of the rooms that have unit tests
TESTED   := $(patsubst %.c,$(BUILD)/%.o,traps/trap.c)
# The tracer: a command, and the library that the dynamic linker loads for LD_AUDIT, which is glibc's
TRACE_C  := $(sort $(wildcard trace/*.c))
LAUNCHER := trace/ztrace.c trace/program.c
# The programs that ztrace watches in its tests; raw-noplt is raw without a table for lazy binding
WATCHED  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/trace/programs/*.c)) $(BUILD)/tests/trace/programs/raw-noplt
TRACER   := $(if $(findstring gnu,$(shell $(CC) -dumpmachine)),$(BUILD)/trace/ztrace $(BUILD)/trace/libztrace.so)
ALL_C    := $(SOURCES) $(PARTS) $(TRACE_C) $(wildcard scripts/*.c tests/*/unit/*.c tests/*/fuzz/*.c tests/trace/programs/*.c bench/*.c)
ALL_CH   := $(ALL_C) $(wildcard $(ROOMS:%=%/*.h) common/*.h tools/*/*.h trace/*.h tests/*/unit/*.h tests/*/fuzz/*.h)

.DEFAULT_GOAL := all
.PHONY: explore all help deps demo panes trace diagrams keys test slow test-page unit bench lint check-challenge \
        check-vllm test-vllm format valgrind fuzz fuzz-corpus hostile faults soak clean
.SECONDARY:
.DELETE_ON_ERROR:

all: $(PROGRAMS) $(SCRIPTS) $(TRACER) ## build every program into build/<folder>/

help: ## this list
	@echo 'Learn:'
	@sed -n 's/^\([a-z_.-]*\):[^#]*## \(.*\)/  make \1 \t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 28
	@echo 'Develop:'
	@sed -n 's/^\([a-z_.-]*\):[^#]*### \(.*\)/  make \1 \t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 28
	@echo '  make SAN=address,undefined, make CC=clang: a separate build; V=1 shows the commands'

deps: ### install what is missing to build (prints what it runs)
	@scripts/install-deps build

demo: ## install what is missing, build, and play every demo (or DEMO=2.2)
	@scripts/install-deps build
	@$(MAKE) --no-print-directory all
	@$(PYTHON) scripts/tour.py --build $(BUILD) $(DEMO)

trace: ## play every demo (or DEMO=2.2) and draw its messages; FILE=, OPEN=1
	@scripts/install-deps test
	@$(MAKE) --no-print-directory all venv
	@.venv/bin/python trace/trace_demo.py --build $(BUILD) $(if $(OPEN),--open) $(if $(FILE),'$(FILE)',$(DEMO))

panes: ## open the terminals of a demo in tmux, with the commands typed (DEMO=2.2)
	@$(MAKE) --no-print-directory all
	@$(PYTHON) scripts/panes.py $(DEMO)

diagrams: ### bring the diagrams of the READMEs up to date (or DEMO=2.2)
	@scripts/install-deps test
	@$(MAKE) --no-print-directory all .venv/ready
	@.venv/bin/python trace/trace_demo.py --build $(BUILD) --diagrams $(DEMO)

keys: $(BUILD)/scripts/make_keys ## make the keys of Demo 1.3 and of --curve-dir (in keys/, or KEYS=<folder>)
	@$< '$(or $(KEYS),keys)'

test: ## set up what the tests need, build, and run them all
	@scripts/install-deps test
	@$(MAKE) --no-print-directory all $(BUILD)/units $(BUILD)/benches $(BUILD)/watched .venv/ready
	@$(MAKE) --no-print-directory unit explore
	@BUILD=$(BUILD) .venv/bin/python -m pytest -q -rs -n $(JOBS) -m 'not slow' $(PYTEST) tests

# The number of steps, 4 s of CPU; `make slow` plays 12
DEPTH ?= 8

explore: $(EXPLORERS) ### play every schedule of DEPTH=8 steps against the sequence of KV events
	@$(BUILD)/tests/tools/explore/kv_sequence $(DEPTH)
	@$(BUILD)/tests/tools/explore/kv_sequence random 60 $(or $(SEED),1) 100000

# Tests that repeat something hundreds of times, or wait for a network that is cut
slow: ### run the tests that need time: at most 20 minutes
	@scripts/install-deps test
	@$(MAKE) --no-print-directory all $(BUILD)/units $(BUILD)/benches $(BUILD)/watched $(EXPLORERS) .venv/ready
	@$(PYTHON) tests/tools/explore/record.py --build $(BUILD) 12
	@BUILD=$(BUILD) timeout --foreground 1200 .venv/bin/python -m pytest -q -rs -n $(JOBS) -m slow $(PYTEST) tests

test-page: ### test the page that `make trace` writes, in a headless Chromium
	@scripts/install-deps page
	@$(MAKE) --no-print-directory all .venv/ready
	@BUILD=$(BUILD) .venv/bin/python -m pytest -q $(PYTEST) tests/trace/page

unit: $(UNITS) ### run the unit tests of the modules
	@for unit in $(UNITS); do $$unit || exit 1; done

valgrind: ### run the process tests once under valgrind
	@scripts/install-deps lint
	@$(MAKE) --no-print-directory all $(BUILD)/units .venv/ready
	@for unit in $(UNITS); do valgrind -q --leak-check=full --errors-for-leak-kinds=definite,indirect --error-exitcode=99 $$unit || exit 1; done
	@BUILD=$(BUILD) UNDER_VALGRIND=1 .venv/bin/python -m pytest -q -n 2 -m valgrind $(PYTEST) tests

bench: ### measure against pyzmq + msgspec and against bare libzmq (BENCH=quick: under a minute)
	@scripts/install-deps test
	@$(MAKE) --no-print-directory all $(BUILD)/benches .venv/ready
	@.venv/bin/python bench/bench.py --build $(BUILD) $(if $(BENCH),--mode $(BENCH)) $(BENCHFLAGS)

# libFuzzer needs clang and a separate build
FUZZ_BUILD := build-fuzz
FUZZ_MAKE   = $(MAKE) --no-print-directory CC=clang BUILD=$(FUZZ_BUILD) SAN=fuzzer-no-link,address,undefined
SECONDS    ?= 60

fuzz: ### fuzz each decoder for SECONDS=60, two at a time with -j2
	@scripts/install-deps lint
	@+$(FUZZ_MAKE) $(FUZZERS:%=$(FUZZ_BUILD)/%) .venv/ready
	@+$(FUZZ_MAKE) -k $(FUZZERS:%=run-fuzz/%)

run-fuzz/%:
	@scripts/fuzz $(BUILD) $* $(SECONDS)

fuzz-corpus: ### reduce the committed inputs to what covers more than the seeds, also of what fuzzing found
	@+$(FUZZ_MAKE) $(FUZZERS:%=$(FUZZ_BUILD)/%) .venv/ready
	@for path in $(FUZZERS); do \
	    name=$${path##*/} inputs=$(FUZZ_BUILD)/inputs/$${path##*/}; \
	    rm -rf $$inputs/seeds $$inputs/corpus $$inputs/least && mkdir -p $$inputs/new && \
	    .venv/bin/python tests/tools/fuzz/seeds.py unpack $$name $$inputs && cp -r $$inputs/seeds $$inputs/least && \
	    nice $(FUZZ_BUILD)/$$path -merge=1 -use_counters=0 \
	        $$inputs/least $$inputs/corpus $$inputs/new 2>$(FUZZ_BUILD)/merge.log && \
	    .venv/bin/python tests/tools/fuzz/seeds.py pack $$name $$inputs || exit 1; \
	done

# How many messages each program that receives gets; a million takes 1 to 2 minutes a program
HOSTILE ?= 1000000

hostile: ### send a million malformed messages to each program that receives (HOSTILE=n), under sanitizers
	@scripts/install-deps test
	@$(MAKE) --no-print-directory SAN=address,undefined all .venv/ready
	@BUILD=build-address-undefined HOSTILE=$(HOSTILE) \
	    .venv/bin/python -m pytest -q -rP --show-capture=stdout $(PYTEST) tests/tools/hostile

# How many schedules to play over the KV stream and over the engine loop, and the first seed
KV      ?= 1000
ENGINE  ?= 200
SEED    ?= 1
MINUTES ?= 10

faults: ### cut networks; kill, stop and restart programs, by seed (SEED=1 KV=1000 ENGINE=200)
	@scripts/install-deps test
	@$(MAKE) --no-print-directory all .venv/ready
	@BUILD=$(BUILD) .venv/bin/python -m pytest -q -rs -n $(JOBS) $(PYTEST) tests/tools/faults
	@BUILD=$(BUILD) .venv/bin/python tests/tools/faults/run.py --record --seed $(SEED) \
	    away=3 kv=$(KV) engines=$(ENGINE)

soak: ### run all demos together, with faults, for MINUTES=10
	@scripts/install-deps test
	@$(MAKE) --no-print-directory all .venv/ready
	@BUILD=$(BUILD) .venv/bin/python tests/tools/faults/soak.py --record --seed $(SEED) $(MINUTES)

lint: compile_commands.json ### check the format, the code (clang-tidy, cppcheck), the rules of CONTRIBUTING.md, the language
	@scripts/lint $(ALL_CH)

check-challenge: ## check your solution of a challenge (N=1, see docs/challenges.md)
	@$(MAKE) --no-print-directory all
	@$(PYTHON) scripts/challenge.py --build $(BUILD) $(N)

check-vllm: ### check whether our programs would work with a vLLM (VLLM=<source tree, wheel or sdist>)
	@$(PYTHON) scripts/check_vllm.py '$(VLLM)'

test-vllm: ### run the tools against a real vLLM from PyPI: VLLM=0.33.0, about 10 GB (ONLY=<group>)
	@$(MAKE) --no-print-directory all .venv/ready
	@$(PYTHON) scripts/test_vllm.py --build $(BUILD) $(ONLY:%=--only %) $(VLLM)

format: ### format the C code with clang-format
	clang-format -i $(ALL_CH)

clean: ### remove what was built
	rm -rf build build-* compile_commands.json

# Another compiler or other flags: build again
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(SAN) $(CFLAGS) $(WERROR)' | cmp -s - $@ || echo '$(CC) $(SAN) $(CFLAGS) $(WERROR)' > $@
.PHONY: FORCE
FORCE:

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo '  CC    $@'
	$(Q)$(COMPILE) -MMD -MP -c $< -o $@

$(TOOLS_A): $(PARTS:%.c=$(BUILD)/%.o)
	@echo '  AR    $@'
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

# A lesson sees common/ and the modules of its own room. The traps and the tools also see the modules of
# the tools, an archive.
$(foreach room,$(LESSONS),$(eval $(BUILD)/$(room)/%.o: INCLUDES = -Icommon))
objects = $(patsubst %.c,$(BUILD)/%.o,$(filter $(1)/%,$(2)))
define room_rules
$(filter-out $(WITH_TOOLS),$(filter $(BUILD)/$(1)/%,$(PROGRAMS))): $(BUILD)/%: $(BUILD)/%.o $(call objects,$(1),$(MODULES))
$(filter $(WITH_TOOLS),$(filter $(BUILD)/$(1)/%,$(PROGRAMS))): $(BUILD)/%: $(BUILD)/%.o $(call objects,$(1),$(filter traps/%,$(MODULES))) $(TOOLS_A)
endef
$(foreach room,$(ROOMS),$(eval $(call room_rules,$(room))))
$(PROGRAMS):
	@echo '  LINK  $@'
	$(Q)$(LINK) $^ $(PKG_LIBS) $(LDLIBS) -lm -o $@

$(SCRIPTS): %: %.o $(TOOLS_A)
	@echo '  LINK  $@'
	$(Q)$(LINK) $^ $(PKG_LIBS) $(LDLIBS) -lm -o $@

# Never with sanitizers: a library for LD_AUDIT cannot have them, but can trace programs that have them
$(BUILD)/trace/%.o $(BUILD)/trace/ztrace $(BUILD)/trace/libztrace.so: SANFLAGS :=
$(BUILD)/trace/%.o: CPPFLAGS += -D_GNU_SOURCE -fPIC -fvisibility=hidden
$(BUILD)/trace/ztrace: $(LAUNCHER:%.c=$(BUILD)/%.o)
	@echo '  LINK  $@'
	$(Q)$(LINK) $^ -o $@
$(BUILD)/trace/libztrace.so: $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(LAUNCHER),$(TRACE_C)))
	@echo '  LINK  $@'
	$(Q)$(LINK) -shared -Wl,-z,defs,-z,now $^ -lm -o $@

$(BUILD)/tests/trace/programs/%: $(BUILD)/tests/trace/programs/%.o
	@echo '  LINK  $@'
	$(Q)$(LINK) $^ $(PKG_LIBS) $(LDLIBS) -ldl -o $@
$(BUILD)/tests/trace/programs/raw-noplt.o: tests/trace/programs/raw.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo '  CC    $@'
	$(Q)$(COMPILE) -fno-plt -c $< -o $@
$(BUILD)/tests/trace/programs/raw-noplt: LDFLAGS += -Wl,-z,now

# cmocka hands each test a state, and hardly any wants it
$(BUILD)/tests/tools/unit/%.o $(BUILD)/tests/lessons/unit/%.o: CPPFLAGS += -Wno-unused-parameter
$(BUILD)/tests/tools/unit/%.o: CPPFLAGS += -I. -I$(BUILD)
$(patsubst %,%.o,$(filter $(BUILD)/tests/tools/%,$(UNITS))): | $(BUILD)/vectors.h
# What msgspec makes of vLLM's structs
$(BUILD)/vectors.h: tests/tools/vectors/make_vectors.py tests/tools/peers/structs.py tests/tools/layouts.py \
        scripts/vllm_layout.py $(wildcard tests/tools/layouts/*.json) | .venv/ready
	@mkdir -p $(@D)
	@.venv/bin/python $< > $@
$(BUILD)/tests/tools/unit/%: $(BUILD)/tests/tools/unit/%.o $(TESTED) $(TOOLS_A)
	@echo '  LINK  $@'
	$(Q)$(LINK) $^ $(PKG_LIBS) $(shell $(PKG_CONFIG) --libs cmocka) $(LDLIBS) -lm -o $@

$(BUILD)/tests/lessons/%.o: INCLUDES = -Icommon
$(BUILD)/tests/lessons/unit/%: $(BUILD)/tests/lessons/unit/%.o
	@echo '  LINK  $@'
	$(Q)$(LINK) $^ $(PKG_LIBS) $(shell $(PKG_CONFIG) --libs cmocka) $(LDLIBS) -o $@

# wait4 is not of POSIX
$(BUILD)/bench/%.o: CPPFLAGS += -D_DEFAULT_SOURCE
$(BUILD)/bench/%: $(BUILD)/bench/%.o
	@echo '  LINK  $@'
	$(Q)$(LINK) $^ $(PKG_LIBS) $(LDLIBS) -lm -o $@

.PHONY: $(BUILD)/benches
$(BUILD)/benches: $(BENCHES)

$(EXPLORERS): %: %.o $(TOOLS_A)
	@echo '  LINK  $@'
	$(Q)$(LINK) $^ $(PKG_LIBS) $(LDLIBS) -lm -o $@

.PHONY: $(BUILD)/watched
$(BUILD)/watched: $(WATCHED)

$(BUILD)/tests/tools/fuzz/%.o: CPPFLAGS += -I.
$(BUILD)/tests/tools/fuzz/%: $(BUILD)/tests/tools/fuzz/%.o $(TESTED) $(TOOLS_A)
	@echo '  LINK  $@'
	$(Q)$(LINK) -fsanitize=fuzzer $^ $(PKG_LIBS) $(LDLIBS) -lm -o $@

$(BUILD)/tests/trace/fuzz/%.o: CPPFLAGS += -I.
$(BUILD)/tests/trace/fuzz/%: $(BUILD)/tests/trace/fuzz/%.o
	@echo '  LINK  $@'
	$(Q)$(LINK) -fsanitize=fuzzer $^ $(LDLIBS) -lm -o $@

$(BUILD)/tests/lessons/fuzz/%.o: CPPFLAGS += -I.
$(BUILD)/tests/lessons/fuzz/%: $(BUILD)/tests/lessons/fuzz/%.o
	@echo '  LINK  $@'
	$(Q)$(LINK) -fsanitize=fuzzer $^ $(PKG_LIBS) $(LDLIBS) -o $@

.PHONY: $(BUILD)/units
$(BUILD)/units: $(UNITS)

.venv/ready: tests/requirements.txt
	@echo "Setting up .venv for the Python peers (tests/requirements.txt)"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The same, without output when there is nothing to do
.PHONY: venv
venv: .venv/ready
	@:

compile_commands.json: Makefile $(ALL_C)
	@{ echo '['; sep=; for file in $(ALL_C); do \
	    printf '%s{"directory":"%s","file":"%s","command":"%s"}' "$$sep" "$(CURDIR)" "$$file" \
	        '$(COMPILE) -Icommon -I. -I$(BUILD) -D_GNU_SOURCE -c '"$$file"; sep=','; echo; done; echo ']'; } > $@

-include $(patsubst %.c,$(BUILD)/%.d,$(ALL_C))
