# What a person types; .ci/run types the same. Needs git, make and a Python >= 3.11; everything else goes into .venv.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Of long lists and of tests with many cases `make test` takes a part: this one.
SLICE ?= 0
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: help demo test lint format bench coverage mutation nightly clean

help:
	@echo 'make demo     records, replays and analyses bundled streams: no key, no network'
	@echo 'make test     the tests; ARGS="-k name" picks some, SLICE=1 takes other parts of long lists'
	@echo 'make lint     ruff and mypy; make format mends what ruff can mend'
	@echo 'make bench    the figures, each as a ratio; ARGS="name ..." picks some'
	@echo 'make coverage which branches no test reaches; ARGS="sse store" picks some parts'
	@echo 'make mutation changes of the code that no test notices; ARGS="sse --sample 100 --seed 1"'
	@echo 'make nightly  all tests with long loops and millions of examples'
	@echo 'make clean    removes .venv and whatever the others made'

demo: .venv/.base
	@$(BIN)/recorder demo

test: .venv/.dev
	RECORDER_SLICE=$(SLICE) $(PYTEST) $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.dev
	$(BIN)/python -m tests.benchmarks $(ARGS)

coverage: .venv/.dev
	@$(BIN)/python -m tests.covered $(ARGS)

mutation: .venv/.dev
	@$(BIN)/python -m tests.mutation $(ARGS)

nightly: .venv/.dev
	RECORDER_NIGHTLY=1 $(PYTEST) -m 'nightly or not nightly' -o timeout=7200 $(ARGS)

clean:
	rm -rf .venv .venv-litellm build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is looked for rather than the folder: a venv made without it is a broken one and is made again.
.venv/bin/pip:
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed: install one, or say make PYTHON=/path/to/it' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@# The pip that comes with older Pythons takes minutes for what a present one does in seconds.
	@$(BIN)/pip install --quiet --upgrade pip || echo 'pip stays as it is'

# The stamps: an installation is made once, and again when pyproject.toml is newer.
.venv/.base: pyproject.toml | .venv/bin/pip
	@echo 'installing into .venv (once) ...'
	@$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/pip
	@echo 'installing into .venv with what the tests need (once, a minute or two) ...'
	@$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ .venv/.base
