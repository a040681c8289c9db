# Every way to work on hitmesh; `make` alone lists them. A fresh clone needs `python3` (3.11 or newer) and nothing else.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
TYPED := hitmesh collector processor reporter control tests dev

.PHONY: help setup demo test test-fast test-long check static lint types layers protos generated words unit proto bench lock wheel clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with the locked tools and .venv/bin/hitmesh; does nothing when it is current.
	@dev/setup.sh

demo: setup ## Start the mesh, import a file, send live traffic, print reports and the ledger, stop.
	@$(BIN)/python dev/demo.py

test: static ## Everything: the checks, then every test, on real Kafka, Cassandra and Druid too.
	@dev/test.sh

test-fast: static ## The checks and the tests that need no servers, but for the longest replays.
	@dev/test.sh fast

test-long: setup ## What takes too long for every day: whole files, long outages, properties on many examples.
	@dev/test.sh long

check: static unit ## Style, types, layering, contract, generated code, unit and property tests.

static: setup ## The checks that run no test, two at a time.
	@$(MAKE) -j 2 -O types lint layers protos generated words

lint: setup ## Style and formatting.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy --strict on all hand-written code.
	@$(BIN)/mypy $(TYPED)

layers: setup ## Imports point one way.
	@$(BIN)/lint-imports --no-logo

protos: setup ## Lint the contract; it breaks nothing that proto/contract.binpb promises.
	@$(BIN)/buf lint
	@$(BIN)/buf breaking --against proto/contract.binpb

generated: setup ## The committed stubs are what the protos make.
	@$(BIN)/python dev/make_protos.py --check

words: setup ## Plain words in docstrings and comments, and names that say what a thing is.
	@$(BIN)/python dev/words.py
	@$(BIN)/python dev/names.py

unit: setup ## Examples of the vocabulary, unit and property tests.
	@$(BIN)/pytest -q --doctest-modules hitmesh/model
	@$(BIN)/pytest -q -n 2 --dist worksteal tests/unit tests/property

proto: setup ## Compile proto/ into the stubs and Envoy's descriptor set.
	@$(BIN)/python dev/make_protos.py

bench: setup ## Measure throughput and latency; prints JSON. SMALL=1 only shows that every part runs.
	@$(BIN)/python -m tests.bench $(if $(SMALL),--small)

lock: setup ## Lock the requirements again; UPGRADE=1 takes the newest versions.
	@dev/lock.sh $(if $(UPGRADE),--upgrade)

wheel: setup ## Build the wheel into dist/.
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## Remove everything that is not in the repository: .venv, caches, builds.
	@rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
