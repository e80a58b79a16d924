# Everything here needs only Python (3.11 or newer) and make: `make run`, `make test`.
# Another interpreter: make PYTHON=python3.13 run. More for a command: make run ARGS='--set listen.fix=0'.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := build/peers
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
PYTEST := $(BIN)/python -m pytest
PACKAGES := config server protocol engine clients loadgen
LINKS := build/typing/openoutcry
#: The tests that also run as plain Python: index errors show there that compiled code would not report.
PLAIN_TESTS := tests/engine tests/server/test_journal_fuzz.py
SOAK_ORDERS ?= 20000000
#: Processes that share the tests; a file's tests stay together, as they share their venues.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help dev run test test-plain test-all conformance e2e e2e-two crash bench bench-peers proof soak fuzz \
        cov fmt lint types links check dashboard lock clean distclean

help: ## Show this list.
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14

# The environment is made once, from versions and hashes that were tested together.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " \
		+ sys.version.split()[0] + ": make PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	@echo "Installing into $(VENV) (once)…"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

dev: $(INSTALLED) links ## Make .venv and what the checkers need.

run: $(INSTALLED) ## Run the venue with the embedded default configuration.
	@exec $(BIN)/openoutcry serve $(ARGS)

test: $(INSTALLED) test-plain test-all ## Run every test that CI runs.

test-plain: $(INSTALLED) ## Run the tests of kernels without the JIT.
	NUMBA_DISABLE_JIT=1 $(PYTEST) -q -n $(WORKERS) --dist loadfile $(PLAIN_TESTS)

# The kernels are compiled beforehand: a test's time-out is for the test. Files go in their order, not
# those of few tests last: these are the long ones, and one worker would wait for the other.
test-all: $(INSTALLED) | test-plain
	$(BIN)/openoutcry warm
	OPENOUTCRY_TEST_BUILD=1 $(BIN)/openoutcry warm
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

conformance: $(INSTALLED) ## Run the FIX session's test cases, and count them by version.
	PYTHONPATH=tests $(BIN)/python -m conformance.count --live $(ARGS)

e2e: $(INSTALLED) ## Run the tests with real processes and sockets.
	$(PYTEST) tests/e2e $(ARGS)

e2e-two: $(INSTALLED) ## Run the same with two gateways and two shards.
	OPENOUTCRY_TEST_GATEWAYS=2 OPENOUTCRY_TEST_SHARDS=2 $(PYTEST) tests/e2e $(ARGS)

crash: $(INSTALLED) ## Kill venues, break their disks and cut their power, for 40 minutes; count what is lost.
	PYTHONPATH=tests $(BIN)/python -m crash --json build/crash.json $(ARGS)

fuzz: $(INSTALLED) ## Run the fuzzers and property tests with many more examples.
	$(PYTEST) -k "fuzz or mutat or property" --hypothesis-profile=long --timeout=3600 $(ARGS)

bench: $(INSTALLED) ## Measure the engine in process and TCP itself.
	$(BIN)/openoutcry bench engine
	$(BIN)/openoutcry bench echo

# The peers get an environment of their own; one that cannot be installed is told of in the table.
$(PEERS)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet \
		--require-hashes -r requirements.lock
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet \
		--no-deps --no-build-isolation -e .
	@$(PEERS)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"] \
		["optional-dependencies"]["peers"], sep="\n")' | while read -r peer; do \
		$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet "$$peer" \
		|| echo "$$peer cannot be installed here"; done
	@touch $@

bench-peers: $(PEERS)/.installed ## Measure other Python order books and this one in turns.
	$(PEERS)/bin/python -m openoutcry.engine.bench.peers $(ARGS)

# First that the book is right (thirty million messages, about two minutes).
proof: $(INSTALLED) ## Prove and measure again what the README claims; results in build/proof.
	@mkdir -p build/proof
	PYTHONPATH=tests $(BIN)/python -m proof.consensus
	PYTHONPATH=tests $(BIN)/python -m proof.flows --json build/proof/flows.json
	$(BIN)/openoutcry bench engine --json build/proof/engine.json
	$(BIN)/openoutcry bench echo --json build/proof/echo.json
	$(BIN)/openoutcry load --protocol binary --json build/proof/load-binary.json
	$(BIN)/openoutcry load --protocol fix --json build/proof/load-fix.json

soak: $(INSTALLED) ## Send SOAK_ORDERS orders through a venue, checking every report.
	$(BIN)/openoutcry load --protocol fix --orders $(SOAK_ORDERS)
	$(BIN)/openoutcry load --protocol binary --orders $(SOAK_ORDERS)

cov: $(INSTALLED) ## Measure branch coverage, kernels as plain Python.
	$(BIN)/coverage erase
	NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -q $(PLAIN_TESTS)
	$(BIN)/coverage run -m pytest -q $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered

fmt: $(INSTALLED) ## Format the code and fix what can be fixed.
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: $(INSTALLED) ## Check style, format and spelling.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(INSTALLED) links ## Check types.
	$(BIN)/mypy

# Static checkers cannot see through the editable install: they read the packages through these links.
links:
	@mkdir -p $(LINKS)
	@for package in $(PACKAGES); do ln -sfn ../../../$$package $(LINKS)/$$package; done

check: lint types test ## All that CI runs.

dashboard: $(INSTALLED) ## Write the Grafana dashboard anew.
	$(BIN)/python deploy/dashboard.py > deploy/grafana/openoutcry.json

# Wants pip-tools in the calling environment. The file names no index: any that has these hashes will do.
lock: ## Resolve the newest versions into requirements.lock.
	pip-compile --quiet --upgrade --extra dev --generate-hashes --allow-unsafe --strip-extras \
		--no-header --no-annotate --no-emit-options --output-file requirements.lock pyproject.toml

clean: ## Remove what was built; .venv stays.
	rm -rf build dist .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## Remove .venv, too.
	rm -rf $(VENV) *.egg-info
