# Posturegate. `make` alone lists the recipes. Nothing but make and Python 3.11 has to be on the machine.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN    := .venv/bin
PORT   ?=
CHECK  ?=
# Options for pytest, such as ARGS="-k wazuh -x".
ARGS   ?=
# Two processes: most of the tests wait for processes of their own.
JOBS   ?= 2
# Files in the order of conftest.py, the longest first. By itself xdist puts those with the most tests first.
SPREAD := -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: help demo demo-check test check compiled docs fix setup setup-dev setup-test clean

help: ## list the recipes
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: setup ## the whole loop on this machine: gateway, provider, app, sensor (CHECK=1 drives it headlessly, PORT=8080)
	@exec $(BIN)/posturegate demo $(if $(PORT),--port $(PORT)) $(if $(filter-out 0,$(CHECK)),--check)

demo-check: ## drive the tour of the demo headlessly, with each step's measured time
	@$(MAKE) demo CHECK=1

test: setup-test ## unit, property, contract, wire and system tests (ARGS="..." goes to pytest)
	@POSTUREGATE_COMPILED=0 $(BIN)/python -m pytest $(SPREAD) $(ARGS)
	@[ -n "$(ARGS)" ] || exec $(BIN)/python -m pytest $(SPREAD) --compiled $(COMPILED_TESTS)

# What is run once more over the compiled data path.
COMPILED_TESTS := tests/wire tests/unit/wire tests/unit/proxy tests/unit/feed tests/unit/decision \
  tests/unit/risk tests/property/test_intake_orders.py tests/unit/plugins/test_generic_products.py \
  tests/unit/plugins/test_kinds.py tests/unit/plugins/test_catalog.py tests/unit/plugins/test_payload.py \
  tests/unit/test_compiled.py tests/faults tests/system/test_loop.py tests/system/test_loop_deaths.py \
  tests/system/test_listeners.py

# What the benches need beyond the tests: two programs by apt, two rivals by pip into a place of their own. A rival that
# cannot be had is a row of the table that says so.
BENCH_BIN := .make/bench/bin
.PHONY: bench
bench: setup-test ## every bench beside its rivals, about ten minutes (QUICK=1: two; BENCH="proxy intake" for some)
	@for command in nginx wrk; do \
	  PATH="$$PATH:/usr/sbin" command -v $$command >/dev/null || missing="$${missing:-} $$command"; done; \
	if [ -n "$${missing:-}" ]; then echo "installing$$missing" >&2; \
	  if [ "$$(id -u)" = 0 ]; then { apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	    apt-get -qq install -y --no-install-recommends $$missing >/dev/null; } || echo "cannot be installed:$$missing" >&2; \
	  else echo "that needs root once: sudo apt-get install$$missing" >&2; fi; fi
	@[ -x $(BENCH_BIN)/python ] || $(BIN)/python -m venv .make/bench
	@cmp -s requirements-bench.lock .make/bench/installed || { \
	  $(BENCH_BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: \
	    -r requirements-bench.lock && cp requirements-bench.lock .make/bench/installed; } || \
	  echo "the rivals cannot be installed: their rows will say so" >&2
	@PATH="$(CURDIR)/$(BENCH_BIN):$$PATH" exec $(BIN)/python -m tests.bench $(BENCH) \
	  $(if $(filter-out 0,$(QUICK)),--quick)

.PHONY: fuzz
fuzz: setup-dev ## coverage-guided search for bodies that break a plugin (SECONDS_EACH=60; KINDS="wazuh fleet" for some)
	@cmp -s requirements-fuzz.lock .make/fuzz/installed || { mkdir -p .make/fuzz && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: \
	    --target .make/fuzz/site --upgrade -r requirements-fuzz.lock && cp requirements-fuzz.lock .make/fuzz/installed; }
	@PYTHONPATH=.make/fuzz/site exec $(BIN)/python -m tests.fuzz $(KINDS) --seconds $(or $(SECONDS_EACH),60)

# The suite is of Python 2.7 and nothing else; where there is none, tests/wire/test_websockets.py has its cases.
PYTHON2 ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/2.7*/bin/python2.7) $(shell command -v python2.7))
CASES   ?=
.PHONY: autobahn
autobahn: setup-dev ## the Autobahn WebSocket suite, directly and through the proxy (needs Python 2.7; CASES="1.* 7.*")
	@[ -n "$(PYTHON2)" ] || { echo "the Autobahn suite needs a Python 2.7 (PYTHON2=...)" >&2; exit 1; }
	@cmp -s requirements-autobahn.lock .make/autobahn/installed || { rm -rf .make/autobahn; \
	  $(PYTHON2) -m pip install --quiet --disable-pip-version-check --target .make/autobahn \
	    -r requirements-autobahn.lock 2>/dev/null; touch .make/autobahn/zope/__init__.py; \
	  cp requirements-autobahn.lock .make/autobahn/installed; }
	@exec $(BIN)/python -m tests.autobahn --python $(PYTHON2) --suite .make/autobahn $(if $(CASES),--cases "$(CASES)")

check: setup-dev ## every gate: lint, format, types, import directions, generated files
	@failed=; \
	gate() { echo "--- $$*"; "$$@" || failed="$$failed\n  $$*"; }; \
	is_fresh() { diff -u "$$1" <("$${@:2}") || { echo "\`make docs\` brings $$1 up to date"; return 1; }; }; \
	gate $(BIN)/ruff check --output-format concise .; \
	gate $(BIN)/ruff format --check .; \
	gate $(BIN)/mypy; \
	gate $(BIN)/mypy scripts/setup.py; \
	gate $(BIN)/mypy --ignore-missing-imports scripts/compile.py; \
	gate $(BIN)/lint-imports; \
	gate is_fresh conf/posturegate.schema.json $(BIN)/posturegate config schema; \
	gate is_fresh docs/configuration.md $(BIN)/posturegate config reference; \
	gate is_fresh conf/openapi.json $(BIN)/posturegate config openapi; \
	[ -z "$$failed" ] || { echo -e "these gates are closed:$$failed"; exit 1; }

docs: setup-dev ## write what is generated: reference and JSON Schema of the configuration, OpenAPI document
	@$(BIN)/posturegate config schema > .make/schema.json && mv .make/schema.json conf/posturegate.schema.json
	@$(BIN)/posturegate config reference > .make/reference.md && mv .make/reference.md docs/configuration.md
	@$(BIN)/posturegate config openapi > .make/openapi.json && mv .make/openapi.json conf/openapi.json

fix: setup-dev ## repair what ruff can repair
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

setup: ## .venv with what `demo` and `serve` need
	@$(PYTHON) scripts/setup.py demo

setup-dev: ## the same with the developers' tools
	@$(PYTHON) scripts/setup.py dev

compiled: ## the data path as machine code, twice as fast; needs a C compiler, used from the next start on
	@$(PYTHON) scripts/setup.py compiled

setup-test: ## the same with what the tests need from the system
	@$(PYTHON) scripts/setup.py test

clean: ## remove everything that set-up and tests made
	@rm -rf .venv .make .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/op/node_modules
