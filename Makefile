# `make help` lists what there is. Every target works alone on a fresh machine with Python 3.11 or newer.

VENV   := .venv
BIN    := $(VENV)/bin
STUDY  ?= quickstart
RUN    ?= runs/$(STUDY)
WORKERS_OF_TESTS ?= 2
# Where pip finds torch, for example https://download.pytorch.org/whl/cpu: much smaller, no CUDA.
TORCH_INDEX ?=
# Which Python makes the environment: the first of these that is new enough, or the one you name.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,\
            $(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1 POLARS_MAX_THREADS=1
INSTALL := ./$(BIN)/python -m pip install --quiet --constraint constraints.txt \
             $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo report test lint types contracts kernels tests slow faults bench fuzz docs pages tutorial format install clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(BIN)/.installed ## Run the study `quickstart` and print where its report is (STUDY=, RUN=)
	@$(BIN)/emergelab run $(STUDY) --out $(RUN)

report: $(BIN)/.installed ## Make the report of a run again (RUN=runs/quickstart)
	@$(BIN)/emergelab report $(RUN)

test: $(BIN)/.installed-dev ## Check everything: lint, types, contracts, tests and a tiny study end to end
	@$(MAKE) --no-print-directory --jobs 2 --output-sync lint types contracts kernels
	@$(MAKE) --no-print-directory tests

# Both processes of the tests would compile them otherwise; while types are checked a core is idle.
kernels: $(BIN)/.installed-dev ## Compile the kernels, once for each machine and version
	@$(ONE_THREAD) $(BIN)/emergelab grammar sample functions -n 1 > /dev/null
	@$(ONE_THREAD) $(BIN)/emergelab ideal functions --task single --shots 1 --prompts 2 --documents 2 > /dev/null

lint: $(BIN)/.installed-dev ## Check style and format
	@echo "Lint"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet

types: $(BIN)/.installed-dev ## Check types
	@echo "Types"
	@$(BIN)/basedpyright

contracts: $(BIN)/.installed-dev ## Check which module imports which
	@echo "Contracts"
	@$(BIN)/lint-imports --no-logo --no-cache

tests: $(BIN)/.installed-dev ## Run the tests without the slow ones
	@echo "Tests"
	@$(ONE_THREAD) $(BIN)/pytest -n $(WORKERS_OF_TESTS) --dist loadgroup

slow: $(BIN)/.installed-dev ## Run the tests that take minutes
	@$(ONE_THREAD) $(BIN)/pytest -m slow

faults: $(BIN)/.installed-dev ## Kill, fill and spoil runs at FAULT_POINTS=50 random points (an hour or less)
	@FAULT_POINTS=$(or $(FAULT_POINTS),50) $(ONE_THREAD) $(BIN)/pytest -m "slow or not slow" tests/faults

bench: $(BIN)/.installed-dev ## Measure ratios of speed: JSON to stdout and to build/bench.json
	@$(BIN)/python benchmarks --out build/bench.json

fuzz: $(BIN)/.installed-dev ## Fuzz what reads files (TARGET=grammar, study or language; SECONDS=3600)
	@$(INSTALL) --editable '.[fuzz]' && mkdir -p build/fuzz && cd build/fuzz && \
	  $(ONE_THREAD) ../../$(BIN)/python ../../tests/fuzz/parsers.py $(or $(TARGET),grammar) $(or $(TARGET),grammar) \
	  -max_total_time=$(or $(SECONDS),3600)

docs: $(BIN)/.installed-dev ## Build the documentation into build/site; a broken link is an error
	@$(BIN)/zensical build --clean --strict
	@echo "Open it in a browser: build/site/index.html"

pages: $(BIN)/.installed-dev ## Write down the pages of the documentation that are made from the code
	@$(BIN)/python tests/pages.py

tutorial: $(BIN)/.installed-dev ## Run the tutorial's code whole and write down its numbers and figures
	@$(BIN)/python tests/tutorial_page.py

format: $(BIN)/.installed-dev ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet; $(BIN)/ruff format

install: $(BIN)/.installed-dev ## Set up the environment with the tools of development

clean: ## Remove the environment, caches and builds; runs stay
	@rm -rf $(VENV) build dist .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "emergelab needs Python 3.11 or newer, and '$(or $(PYTHON),python3)' is not." \
	    "Install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: its modules venv or ensurepip are missing." \
	    "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)" >&2
	@$(PYTHON) -m venv $(VENV)

# Each stamp is younger than what it was made from, so that nothing is installed twice.
$(BIN)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@$(call install,.)

$(BIN)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	@$(call install,.[dev])
	@touch $(BIN)/.installed

# pip's complaints about missing package indexes are noise, its errors are not.
define install
echo "Installing '$(1)' (the first time this takes a few minutes)" >&2; \
$(INSTALL) --editable '$(1)' 2>$(BIN)/.pip.log || { cat $(BIN)/.pip.log >&2; exit 1; }; \
touch $@
endef
