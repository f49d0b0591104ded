# SPDX-License-Identifier: MIT
# A thin front for Meson.  The first use installs missing build packages with apt.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
PYTHON ?= python3
MESON := $(shell test -x /usr/bin/meson && echo /usr/bin/meson || echo meson)

.PHONY: all demo test test-long bench bench-python install python clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) >$(BUILD)/ninja.log || { cat $(BUILD)/ninja.log; exit 1; }

$(BUILD)/build.ninja:
	@tools/setup.sh build
	@$(MESON) setup $(BUILD) --prefix=$(PREFIX) >/dev/null || $(MESON) setup $(BUILD) --prefix=$(PREFIX)

demo: all
	@tools/demo.sh $(BUILD)

test:
	@tools/setup.sh test
	@tools/test_all.sh

test-long:
	@tools/setup.sh test
	@MULTIPROC_TEST_LONG=1 tools/test_all.sh

bench:
	@tools/setup.sh bench
	@tools/bench.sh $(BENCH_ARGS)

bench-python:
	@tools/setup.sh bench
	@tools/bench_python.sh $(BENCH_ARGS)

python:
	@tools/setup.sh python
	@tools/python.sh $(PYTHON)

install: all
	@$(MESON) configure $(BUILD) --prefix=$(PREFIX) >/dev/null
	@DESTDIR="$(DESTDIR)" $(MESON) install -C $(BUILD)

clean:
	@rm -rf build build-*
