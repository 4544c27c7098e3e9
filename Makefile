# `make demo` and `make test` need Python 3.10 or newer, and nothing else: each makes .venv and installs all
# that it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint bench clean

help:
	@echo "make demo    classify real photographs, offline"
	@echo "make test    run all tests"
	@echo "make lint    ruff and mypy"
	@echo "make bench   speed, against the alternatives"
	@echo "make clean   remove $(VENV)"

# One stamp for each set of extras that is installed.
$(VENV)/.with-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	touch $@

demo: $(VENV)/.with-demo
	$(BIN)/vlcls demo

test: $(VENV)/.with-test
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

lint: $(VENV)/.with-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.with-test
	for script in images text store memory aggregates rescore weighting evaluate index discover learned_names; do \
		HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/speed/$$script.py || exit 1; done

clean:
	rm -rf $(VENV)
