# `make demo` and `make test` need Python 3.10 or newer, and nothing else: each makes .venv and installs all
# that it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help browser demo test lint bench clean

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

# The editor's page is tried in a real browser. Where none can be had, its tests are skipped and say so.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		{ apt-get update -qq; apt-get install -y -q --no-install-recommends chromium; }; } || \
		echo "no Chromium: the tests of the editor's page will be skipped"

test: $(VENV)/.with-test browser
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

lint: $(VENV)/.with-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.with-test
	for script in images text store many_rows memory aggregates rescore weighting evaluate edit; do \
		HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/speed/$$script.py || exit 1; done

clean:
	rm -rf $(VENV)
