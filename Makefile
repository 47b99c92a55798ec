# From a bare machine with Python >= 3.10: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
JOBS ?= 2
PYTEST_ARGS ?=
DEMO_OUTPUT ?= output/demo
VENV ?= .venv
# Every package of the environment in one version, with hashes; empty = what pip finds newest.
LOCK ?= requirements.lock
UV ?= uv

BIN := $(VENV)/bin
VENV_STAMP := $(VENV)/.made
INSTALL_STAMP := $(VENV)/.installed
SOLVER_STAMP := $(VENV)/.solver-compiled

# The stamps say what is done already; every other target runs each time.
.PHONY: help install demo test docs newest lock lint format clean new-venv
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@echo "Variables: PYTHON=$(PYTHON) (makes .venv), JOBS=$(JOBS) (test processes), PYTEST_ARGS=..."

install: $(INSTALL_STAMP) ## make .venv and install everything into it

demo: $(SOLVER_STAMP) ## run the main job and write the report output/demo/index.html
	OMP_WAIT_POLICY=PASSIVE MPLBACKEND=Agg $(BIN)/python demo/main_job.py --output $(DEMO_OUTPUT)
	@echo "Report: $(CURDIR)/$(DEMO_OUTPUT)/index.html"

# One thread per process: several threads in each of several processes slow PyTorch down tenfold.
# Bytecode is kept whatever the environment says: each process would compile for half a minute.
test: $(SOLVER_STAMP) ## run the test suite (PYTEST_ARGS="-k crf" runs a part)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

# The project itself is read from its files, not imported; a warning stops it.
docs: $(INSTALL_STAMP) ## write the documentation site output/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Site: $(CURDIR)/output/site/index.html"

newest: ## the test suite with the newest versions of everything, in .venv-newest
	$(MAKE) --no-print-directory VENV=.venv-newest LOCK= test

# Kept versions stay as they are; "make lock UPGRADE=--upgrade" takes newer ones.
lock: ## write requirements.lock anew from pyproject.toml, by uv
	$(PYTHON) tools/install_detectron2.py --requirements | $(UV) pip compile pyproject.toml - \
	  --extra all --extra test --universal --python-version 3.10 --generate-hashes \
	  --no-header --no-annotate --quiet $(UPGRADE) --output-file requirements.lock

lint: $(INSTALL_STAMP) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALL_STAMP) ## put the format right, and what else ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what the commands above made, but for .venv and your own output/
	rm -rf output/demo output/site build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# A usable .venv that is there already is taken as it is; a half-made one is made anew.
$(VENV_STAMP):
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 10))' 2> /dev/null \
	  || $(MAKE) --no-print-directory new-venv
	@touch $@

new-venv:
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "There is no '$(PYTHON)'. Install Python 3.10 or newer, or: make PYTHON=/path/to/python ..."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "'$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); needed is Python 3.10 or newer." ; \
	  echo "With a newer one beside it: make PYTHON=python3.12 ..."; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2> /dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: its modules venv and ensurepip are missing." ; \
	  echo "Debian and Ubuntu: sudo apt install python3-venv. Others: a complete Python."; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)

# --compile: where Python may not write, each start would otherwise compile what it imports again.
$(INSTALL_STAMP): pyproject.toml setup.py tools/install_detectron2.py $(LOCK) $(VENV_STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --upgrade "pip>=23"
ifneq ($(LOCK),)
	$(BIN)/python -m pip install --disable-pip-version-check --compile --require-hashes --requirement $(LOCK)
endif
	$(BIN)/python -m pip install --disable-pip-version-check --compile --editable ".[all,test]"
	$(BIN)/python tools/install_detectron2.py
	@touch $@

# The fast solver compiles itself at its first call and keeps the result: once here, instead of once
# in each of several processes later. A failure is for the tests to tell.
define FIRST_SOLVE
from occ_order import crf, masks, scenes, targets
from occ_order.crf.grid import warm_up
warm_up()
scene = scenes.generate(0, size=(48, 64))
ids = masks.paint(scene.modal, occlusion=scene.occlusion)
occludes = crf.occludes_from_target(*targets.oriented_boundary(ids, scene.occlusion))
for bound in ("constant", "alternate"):
    crf.solve((ids == 0).astype(float), occludes, bound=bound)
endef
export FIRST_SOLVE

$(SOLVER_STAMP): $(INSTALL_STAMP) $(wildcard occ_order/crf/*.py occ_order/crf/*/*.py)
	@echo "Compiling the solver of the CRF: about half a minute, once."
	@OMP_NUM_THREADS=1 $(BIN)/python -c "$$FIRST_SOLVE" || echo "It failed; the tests will say more."
	@touch $@
