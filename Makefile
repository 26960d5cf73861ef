# A thin front: each target is one script that says what it does. `make help` lists them.
#
# -q makes a failed `+` recipe end make silently with status 1, so that the total line of `make test` stays the last line
# also under 2>&1 (make would add "*** Error 1" after it and exit 2). Every recipe line therefore starts with `+`.
MAKEFLAGS += -q --no-print-directory
PREFIX ?= /usr/local
TESTS ?=
TARGET ?=
SECONDS ?= 60

.PHONY: help build deps run test asan tsan bench fmt fuzz torture test-peers test-long sim sim-mutants lint clean install

build:
	+@tools/build release

help:
	+@echo 'build run test bench fmt lint asan tsan fuzz torture sim sim-mutants test-peers test-long clean install deps; TESTS=wire/result narrows test, asan, tsan; TARGET= SECONDS= for fuzz; SEED= TRACE= or SEEDS= for sim; PREFIX= for install'

deps:
	+@tools/install-deps

run: build
	+@tools/run

test:
	+@tools/run-tests release $(TESTS)

# The full counts of the rounds in tests/torture.
torture:
	+@HF_TEST_SCALE=full tools/run-tests release --suite torture

# Public software that nobody here wrote (gRPC, HTTP/2, OpenAPI); what it is comes from the Go proxy, npm and PyPI, once, into build/peers.
test-peers: build
	+@tests/control/peers.py build

# The full counts of everything; hours.
test-long:
	+@tools/test-long

asan:
	+@tools/run-tests asan $(TESTS)

tsan:
	+@tools/run-tests tsan $(TESTS)

fuzz:
	+@tools/fuzz '$(TARGET)' '$(SECONDS)'

bench: build
	+@bench/run all

fmt:
	+@tools/install-deps && git ls-files -z '*.c' '*.h' | xargs -0 -r clang-format -i

# SEED=n: one world, TRACE=1 to read along; SEEDS=n: so many random ones; COVERAGE=1: what they reached (docs/testing.md).
sim: deps
	+@SEED='$(SEED)' SEEDS='$(SEEDS)' FROM='$(FROM)' TRACE='$(TRACE)' COVERAGE='$(COVERAGE)' tools/sim

sim-mutants: deps
	+@tools/sim-mutants $(MUTANTS)

lint:
	+@tools/lint

install: build
	+@meson configure build -Dprefix=$(abspath $(PREFIX)) && meson install -C build

clean:
	+@rm -rf build build-asan build-tsan build-lint build-fuzz
