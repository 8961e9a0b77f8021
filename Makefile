# `make help` lists what there is. Everything installs itself: Python packages into .venv of this checkout,
# programs (Prometheus, kubectl) into ~/.cache/canaryd, where all checkouts share them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
WORKERS ?= 2
ARGS ?=

# Exit code 5 is "no test matched", which is no failure of a selection by marker.
NONE_IS_FINE = || { code=$$?; [ $$code -eq 5 ] || exit $$code; }

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/.programs ## A bad release stopped and a good one promoted, live in the terminal (ARGS="--help" for more)
	@.venv/bin/canaryd demo $(ARGS)

.PHONY: setup
setup: .venv/.programs ## Install what the other targets need, and nothing else

.venv/.ready: requirements.lock pyproject.toml scripts/set-up.sh
	@scripts/set-up.sh

.venv/.programs: .venv/.ready
	@echo "Programs for the cluster in a box: Envoy, Prometheus, kubectl"
	@$(PYTHON) -m canaryd.sandbox.tools envoy prometheus kubectl
	@touch $@

.PHONY: test
test: test-unit test-real test-e2e ## All tests but the slow ones
	@echo "All tests passed; the slow ones are in make test-full."

.PHONY: test-unit
test-unit: .venv/.programs ## Tests that need neither a whole sandbox nor a real kube-apiserver
	$(PYTEST) -m "not real and not e2e and not slow" -n $(WORKERS) --dist loadfile $(ARGS)

.PHONY: test-real
test-real: .venv/.programs ## Tests against a real kube-apiserver; they skip where it is missing (make kube)
	$(PYTEST) -m "real and not slow" $(ARGS) $(NONE_IS_FINE)

.PHONY: test-e2e
test-e2e: .venv/.programs ## Whole releases in the sandbox, one after the other: they measure time
	$(PYTEST) -m "e2e and not slow and not real" $(ARGS) $(NONE_IS_FINE)

.PHONY: test-slow
test-slow: .venv/.programs ## The slow tests alone
	$(PYTEST) -m slow $(ARGS) $(NONE_IS_FINE)

.PHONY: test-full
test-full: test test-slow ## All tests
	@echo "All tests passed, the slow ones too."

.PHONY: kube
kube: .venv/.ready ## Build a real kube-apiserver for the tests, once (Debian 12; 4-10 minutes)
	@$(PYTHON) -m canaryd.sandbox.realcluster_build

.PHONY: lint
lint: .venv/.ready ## Style, types, and which package may import which
	@status=0; \
	for check in "ruff check ." "ruff format --check ." mypy "lint-imports --no-logo"; do \
	    echo "--> $$check"; .venv/bin/$$check || status=1; \
	done; \
	exit $$status

.PHONY: format
format: .venv/.ready ## Let ruff format and repair what it can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# A version moves only when it must: to take newer ones, add ARGS=--upgrade.
UV_COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

.PHONY: lock
lock: ## Work out the lock files again, after a change of dependencies (needs uv)
	$(UV_COMPILE) $(ARGS) --extra dev pyproject.toml -o requirements.lock
	$(UV_COMPILE) -c requirements.lock pyproject.toml -o requirements-runtime.lock

.PHONY: clean
clean: ## Remove what was installed and cached in this checkout
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
