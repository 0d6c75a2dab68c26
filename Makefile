# Every target bootstraps what it needs: Python 3.11 or later is enough. `make help` lists them.
TIMES ?= 100
SECONDS ?= 60
ROUNDS ?= 200
TARGET ?= all
EVENTS ?= 1000000
RATE ?= 10000
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TEST_READY := $(VENV)/.ready-test
FUZZ_READY := $(VENV)/.ready-fuzz
DEMO := build/demo
PIN = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links

.PHONY: help demo test test-postgresql long faults fuzz bench soak check lint types imports format lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Clearwell needs Python 3.11 or later; name one with PYTHON=..."; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned dependencies into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)  ## Run the main job: simulate a platform, ingest a million events, show what is stuck
	@rm -rf $(DEMO)
	@$(BIN)/clearwell demo $(DEMO)

$(TEST_READY): $(READY) requirements-test.lock
	@echo "Installing what the tests need beside it: Spark, ClickHouse, statistics ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.lock
	@touch $(TEST_READY)

test: $(TEST_READY) lint types imports  ## Run every check and test
	@$(BIN)/python -m pytest -n auto --dist loadgroup

long: $(TEST_READY)  ## Run the property tests with TIMES=100 times their examples: hours, thousands of random worlds
	@CLEARWELL_EXAMPLES_TIMES=$(TIMES) $(BIN)/python -m pytest tests/properties -n auto

test-postgresql: $(TEST_READY)  ## Run the tests with the catalog of every ledger in PostgreSQL
	@$(BIN)/python -m pytest -n auto --dist loadgroup --catalog postgresql tests/unit tests/faults tests/scenarios

faults: $(TEST_READY)  ## Run the fault suite with ROUNDS=200 rounds of kill -9; writes docs/reliability.md
	@UPDATE_DOCS=1 FAULT_ROUNDS=$(ROUNDS) SERVICE_FAULT_ROUNDS=300 $(BIN)/python -m pytest -n auto tests/faults

fuzz: $(FUZZ_READY)  ## Fuzz each parser for SECONDS=60, or one: TARGET=ndjson|csv|flow|settings|instants|proof|checkpoint
	@$(BIN)/python tests/faults/fuzz.py --target $(TARGET) --seconds $(SECONDS)

$(FUZZ_READY): $(READY) requirements-fuzz.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	@touch $(FUZZ_READY)

bench: $(TEST_READY)  ## Measure every figure with a world of EVENTS=1000000, beside what users would pick instead
	@$(BIN)/python benchmarks/run.py --events $(EVENTS)

soak: $(TEST_READY)  ## Publish RATE=10000 events a second to a service for SECONDS=60; tells memory, lag and latency
	@$(BIN)/python benchmarks/soak.py --seconds $(SECONDS) --rate $(RATE) --every 10

check: $(TEST_READY) lint types imports  ## Run ruff, strict types, the import contract and the structure tests
	@$(BIN)/python -m pytest tests/structure

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

format: $(READY)  ## Put the code in the house's form
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

lock: ## Pin the dependencies anew (needs uv)
	$(PIN) --upgrade --group dev pyproject.toml --output-file requirements.lock
	$(PIN) --upgrade --constraint requirements.lock --group engines --all-extras pyproject.toml \
		--output-file requirements-test.lock
	$(PIN) --upgrade --group fuzz --output-file requirements-fuzz.lock

clean:  ## Remove what the targets made
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
