# Everything runs in .venv, which the first target to need it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXPERIMENTS := recovery_frozen,recovery_unfrozen
WORKERS ?= 2
# a file stays with one worker, which makes its fixtures once; the order is that of tests/conftest.py, the slowest first
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format docs clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(BIN)/langcore: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(BIN)/pytest: $(BIN)/langcore
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

$(BIN)/mkdocs: $(BIN)/langcore
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	@touch $@

demo: $(BIN)/langcore ## damage core and random regions, recover frozen and free, and write report.html
	$(BIN)/python train.py -m +experiment=$(EXPERIMENTS) region=core,random

test: lint ## lint, types and every test: what CI runs
	$(PYTEST)

check: lint ## lint, types and the tests that are not slow: before each commit
	$(PYTEST) -m "not slow"

lint: $(BIN)/pytest ## ruff and mypy alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(BIN)/pytest ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(BIN)/mkdocs ## build the documentation into site/, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## remove what runs have made: artifacts, outputs, caches
	rm -rf artifacts outputs site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
