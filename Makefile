# Everything runs in .venv, which the first target to need it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXPERIMENTS := recovery_frozen,recovery_unfrozen

.DEFAULT_GOAL := help
.PHONY: help demo test lint format clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(BIN)/langcore: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(BIN)/pytest: $(BIN)/langcore
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

demo: $(BIN)/langcore ## damage core and random regions, recover frozen and free, and write report.html
	$(BIN)/python train.py -m +experiment=$(EXPERIMENTS) region=core,random

test: $(BIN)/pytest ## run the whole test suite, linted and typed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

lint: $(BIN)/pytest ## ruff and mypy alone
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(BIN)/pytest ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what runs have made: artifacts, outputs, caches
	rm -rf artifacts outputs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
