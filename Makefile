# The targets for work on hitmesh; `make` alone lists the targets. A fresh clone needs only `python3` (3.11 or newer).

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# A run starts hundreds of Python processes, so each module is compiled only once.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
TYPED := hitmesh collector processor reporter control tests dev

.PHONY: help setup demo test test-fast test-long check static lint types layers protos generated words unit proto settings k8s observability bench lock wheel clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Create .venv with the locked tools and .venv/bin/hitmesh; do nothing if .venv is current.
	@dev/setup.sh

demo: setup ## Start the mesh, import a file, send live traffic, print reports and the ledger, stop.
	@$(BIN)/python dev/demo.py

test: setup ## Run the checks and every test, including the tests on real Kafka, Cassandra and Druid.
	@dev/test.sh

test-fast: setup ## Run the checks and the tests that need no servers, except the longest replays.
	@dev/test.sh fast

test-long: setup ## Run the tests that are too long for every day: whole files, long outages, property tests with many examples.
	@dev/test.sh long

check: static unit ## Check style, types, imports, contract and generated code; run unit and property tests.

static: setup ## Run all checks that are not tests, two at a time.
	@$(MAKE) -j 2 -O types lint layers protos generated words

lint: setup ## Check style and formatting.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## Run mypy --strict on all hand-written code.
	@$(BIN)/mypy $(TYPED)

layers: setup ## Check that imports between packages point in the allowed direction.
	@$(BIN)/lint-imports --no-logo

protos: setup ## Lint the contract, and check that it is compatible with proto/contract.binpb.
	@$(BIN)/buf lint
	@$(BIN)/buf breaking --against proto/contract.binpb

generated: setup ## Check that the committed stubs match the protos, docs/settings.md the settings, and k8s/ Envoy's template.
	@$(BIN)/python dev/make_protos.py --check
	@$(BIN)/python -m dev.make_settings --check
	@$(BIN)/python -m dev.make_k8s --check
	@$(BIN)/python -m dev.make_chart --check
	@$(BIN)/python -m dev.make_observability --check

words: setup ## Check docstrings and comments for plain words, and names for banned words.
	@$(BIN)/python dev/words.py
	@$(BIN)/python dev/names.py

unit: setup ## Run the examples in hitmesh/model, and the unit and property tests.
	@$(BIN)/pytest -q --doctest-modules hitmesh/model
	@$(BIN)/pytest -q -n 2 --dist worksteal tests/unit tests/property

proto: setup ## Compile proto/ into the stubs and Envoy's descriptors, also those of k8s/.
	@$(BIN)/python dev/make_protos.py
	@$(BIN)/python -m dev.make_k8s
	@$(BIN)/python -m dev.make_chart

settings: setup ## Write docs/settings.md from the settings of services and commands.
	@$(BIN)/python -m dev.make_settings

k8s: setup ## Write the Envoy configurations of k8s/ from the template, and the Helm chart from the manifests.
	@$(BIN)/python -m dev.make_k8s
	@$(BIN)/python -m dev.make_chart

observability: setup ## Write the generated files of observability/: rules and dashboards.
	@$(BIN)/python -m dev.make_observability

bench: setup ## Measure throughput and latency; prints JSON. SMALL=1 only shows that every part runs.
	@$(BIN)/python -m tests.bench $(if $(SMALL),--small)

lock: setup ## Lock the requirements again; UPGRADE=1 selects the newest versions.
	@dev/lock.sh $(if $(UPGRADE),--upgrade)

wheel: setup ## Build the wheel into dist/.
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## Remove everything that is not in the repository: .venv, caches, builds.
	@rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
