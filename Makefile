# What people and CI type. Every target makes its own .venv first if there is none.
PYTHON ?= python3
VENV ?= .venv
# Extra arguments for pip, for example an index of CPU-only torch wheels:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help setup demo operator-demo test check format lint types contracts fast slow chaos bench train dockerfiles clean
.DEFAULT_GOAL := help

help:            ## Show this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(INSTALLED)  ## Make .venv and install everything into it

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e '.[dev]'
	touch $@

demo: setup  ## Run the real worker on a local SQS, S3 and callback receiver
	$(BIN)/detection-worker demo

operator-demo: setup  ## Watch the operator scale real workers here, from zero to zero
	$(BIN)/detection-operator demo

test: setup lint types contracts  ## Everything that CI runs
	$(BIN)/python -m pytest

check: setup lint types contracts fast  ## Format, lint, types, import contracts, fast tests

format: setup  ## Rewrite the sources in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

fast: setup
	$(BIN)/python -m pytest -m "not slow"

chaos: setup  ## 200 SIGKILLs over 2,000 messages and 50 SIGTERM rounds; prints the figures
	$(BIN)/python benchmarks/worker_chaos.py

bench: setup  ## Throughput against a sequential loop and a thread pool; prints the table
	$(BIN)/python benchmarks/worker_throughput.py

dockerfiles: setup  ## Lint the Dockerfiles (needs hadolint on the path)
	hadolint Dockerfile.*

clean:  ## Remove the virtual environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
