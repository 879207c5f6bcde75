# Every command of this repository. Each target builds .venv by itself; `make help` lists them.
# Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
# The stamp carries the version, so another PYTHON builds the environment again.
STAMP := .venv/.installed-$(PYTHON_VERSION)

.PHONY: help demo test lint types bench docs clean

help:  ## List the commands
	@grep -hE '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{ printf "make %-7s %s\n", $$1, $$2 }'

demo: $(STAMP)  ## Ring a bot on this machine, listen to it, check the record; no account, no key
	@$(BIN)/trunkline demo

test: $(STAMP)  ## Run the whole test suite
	@$(BIN)/python -m pytest

lint: $(STAMP)  ## Check style, formatting and the layers of the imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports

types: $(STAMP)  ## Check the types of src, strictly
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

bench: $(STAMP)  ## Measure against the budgets, with the peer beside; also in build/bench.json
	@$(BIN)/python -m benchmarks

docs: $(STAMP)  ## Check the documentation: every link leads somewhere
	@$(BIN)/python -m scripts.docs

clean:  ## Remove the environment and everything that was built
	@rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@case '$(PYTHON_VERSION)' in \
		3.11|3.12|3.13) ;; \
		'') echo 'Trunkline needs Python 3.11, 3.12 or 3.13, and "$(PYTHON)" does not run. Try: make PYTHON=python3.12' >&2; exit 1 ;; \
		*) echo 'Trunkline needs Python 3.11, 3.12 or 3.13, and "$(PYTHON)" is $(PYTHON_VERSION). Try: make PYTHON=python3.12' >&2; exit 1 ;; \
	esac
	@echo 'Installing into .venv with Python $(PYTHON_VERSION) (once, about a minute) ...'
ifneq ($(UV),)
	@$(UV) venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
else
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
endif
	@touch $@
