# Everything from nothing but Python: `make demo` and `make test` set themselves up.
# A stamp in .venv marks each finished step, so that a second call starts at once.
#
#   make test TORCH='torch==2.13.0'   choose another build of PyTorch (see its own install page)
#   make test TORCH='torch --index-url https://download.pytorch.org/whl/cpu'   for CPUs only
#   make test WORKERS=2               run the tests in that many processes
#   make test TESTS=tests/test_cli.py

PYTHON ?= python3
TORCH ?= torch
WORKERS ?= auto
TESTS ?= tests
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# One stamp per requested build, so that asking for another one installs it.
TORCH_STAMP := $(VENV)/.torch-$(shell printf '%s' '$(TORCH)' | cksum | cut -d ' ' -f 1)
CORE_STAMP := $(VENV)/.core
DEV_STAMP := $(VENV)/.dev
SITE_STAMP := $(VENV)/.site
PIP := $(BIN)/python -m pip --disable-pip-version-check install

# One thread per test process: more only fight over the cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test lint reproduce attack wheel-smoke changes bench gallery site clean
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(CORE_STAMP) ## Install Histomend into .venv

setup-dev: $(DEV_STAMP) ## The same with all that tests and lint need

demo: $(CORE_STAMP) ## Damage, detect, restore and measure two fields; writes demo/index.html
	$(BIN)/histomend demo -o demo --force $(ARGS)

test: $(DEV_STAMP) ## Run the tests in parallel
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS) $(ARGS)

lint: $(DEV_STAMP) ## Check style, spelling, types and the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

reproduce: $(CORE_STAMP) ## Every table and figure of the papers at the scale tiny, on drawn tissue
	$(ONE_THREAD) $(BIN)/histomend reproduce all --scale tiny --data made-up -o reproduced $(ARGS)

attack: $(DEV_STAMP) ## Damaged files, hostile command lines, kills and full disks, for hours
	$(ONE_THREAD) $(BIN)/python tests/attack/fuzz_readers.py $(ARGS)
	$(ONE_THREAD) $(BIN)/python tests/attack/attack_lines.py $(ARGS)
	$(ONE_THREAD) $(BIN)/python tests/attack/over_results.py

wheel-smoke: ## Build the wheel, install it into a new environment, do the main job with it
	PYTHON='$(PYTHON)' TORCH='$(TORCH)' .ci/wheel-smoke

changes: ## What is new since the last release, for CHANGELOG.md
	@cat changes/*.md

bench: $(CORE_STAMP) ## Measure speed on this machine, as ratios
	$(BIN)/python benchmarks/speed.py $(ARGS)

gallery: $(CORE_STAMP) ## Make the gallery of the site anew, docs/gallery.md
	$(BIN)/python benchmarks/gallery.py -o docs --pictures docs/images/gallery $(ARGS)

site: $(SITE_STAMP) ## Build the documentation as a site that needs no server, into site/
	$(BIN)/mkdocs build

clean: ## Remove the environment and the demo's output
	rm -rf $(VENV) demo reproduced site

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Histomend needs Python 3.10 or newer, and $(PYTHON) is older:" \
	       "name another one, as in make PYTHON=python3.12 demo" >&2; exit 1; }
	@echo "[1/3] Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Could not create $(VENV). On Debian and Ubuntu, python3 -m venv needs:" \
	       "apt install python3-venv" >&2; exit 1; }

$(TORCH_STAMP): | $(VENV)/bin/python
	@echo "[2/3] Installing $(TORCH) (the largest download; the second time it is there already)"
	$(PIP) $(foreach word,$(TORCH),'$(word)')
	@touch $@

$(CORE_STAMP): pyproject.toml $(TORCH_STAMP)
	@echo "[3/3] Installing Histomend"
	$(PIP) -e .
	@touch $@

# Core first, so that `make demo test` installs each package once.
$(DEV_STAMP): $(CORE_STAMP)
	@echo "[3/3] Installing what tests and lint need"
	$(PIP) -e '.[dev]'
	@touch $@

$(SITE_STAMP): $(CORE_STAMP)
	@echo "[3/3] Installing what the site needs"
	$(PIP) -e '.[site]'
	@touch $@
