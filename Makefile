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

.PHONY: help demo demo-check test check docs fix setup setup-dev setup-test clean

help: ## list the recipes
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: setup ## the whole loop on this machine: gateway, provider, app, sensor (CHECK=1 drives it headlessly, PORT=8080)
	@exec $(BIN)/posturegate demo $(if $(PORT),--port $(PORT)) $(if $(filter-out 0,$(CHECK)),--check)

demo-check: ## drive the tour of the demo headlessly, with each step's measured time
	@$(MAKE) demo CHECK=1

test: setup-test ## unit, property, contract, wire and system tests (ARGS="..." goes to pytest)
	@exec $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

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

check: setup-dev ## every gate: lint, format, types, import directions, generated files
	@failed=; \
	gate() { echo "--- $$*"; "$$@" || failed="$$failed\n  $$*"; }; \
	is_fresh() { diff -u "$$1" <("$${@:2}") || { echo "\`make docs\` brings $$1 up to date"; return 1; }; }; \
	gate $(BIN)/ruff check --output-format concise .; \
	gate $(BIN)/ruff format --check .; \
	gate $(BIN)/mypy; \
	gate $(BIN)/mypy scripts/setup.py; \
	gate $(BIN)/lint-imports; \
	gate is_fresh conf/posturegate.schema.json $(BIN)/posturegate config schema; \
	gate is_fresh docs/configuration.md $(BIN)/posturegate config reference; \
	[ -z "$$failed" ] || { echo -e "these gates are closed:$$failed"; exit 1; }

docs: setup-dev ## write what is generated: the reference of the configuration and its JSON Schema
	@$(BIN)/posturegate config schema > .make/schema.json && mv .make/schema.json conf/posturegate.schema.json
	@$(BIN)/posturegate config reference > .make/reference.md && mv .make/reference.md docs/configuration.md

fix: setup-dev ## repair what ruff can repair
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

setup: ## .venv with what `demo` and `serve` need
	@$(PYTHON) scripts/setup.py demo

setup-dev: ## the same with the developers' tools
	@$(PYTHON) scripts/setup.py dev

setup-test: ## the same with what the tests need from the system
	@$(PYTHON) scripts/setup.py test

clean: ## remove everything that set-up and tests made
	@rm -rf .venv .make .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/op/node_modules
