# Laconic's commands, the same for people and for CI. `make` or `make help` lists them.
PYTHON ?= python3
# Which index torch comes from, where the default one would bring GPU libraries you do not want:
#   make install TORCH_INDEX=<address of PyTorch's CPU wheel index>
TORCH_INDEX ?=
PYTEST_ARGS ?=
OUT ?= demo
# Processes that run tests; each runs whole files, with its share of the cores.
WORKERS ?= 2

# Compiled modules are kept, as Python does by default: half of the time that it takes to collect the tests.
export PYTHONDONTWRITEBYTECODE =

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q -c constraints.txt
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PYTEST = -m pytest -n $(WORKERS) --dist loadfile
OLDEST := .venv-oldest
TOOLS := .venv-tools
# Where our code meets its dependencies: files, tables, tensors, compiled loops, models, training, commands.
OLDEST_TESTS := $(addprefix tests/, container data distributions metrics networks training/test_loop.py lab/test_contract.py \
  weights/test_layers.py weights/test_convert.py trials/test_weightfiles.py evaluation/report \
  evaluation/anchors test_compiled.py cli/test_tables.py cli/test_weights_commands.py \
  codecs/lossless/test_golden.py codecs/network/test_codec.py coding/test_random.py coding/queue \
  coding/stack models/test_vae.py weights/pruning/test_smaller.py test_api.py)

.DEFAULT_GOAL := help
.PHONY: help install install-dev chromium demo test test-fast test-oldest slow-tests smoke lint types imports
.PHONY: format-check check format licences manual sbom audit docs bench clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: constraints.txt | $(VENV)/bin/python
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(INSTALLED): pyproject.toml constraints.txt $(VENV)/.torch
	$(PIP) -e '.[eval]'
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(PIP) -e '.[dev]'
	@touch $@

install: $(INSTALLED) ## create .venv with the `laconic` command in it

install-dev: $(INSTALLED_DEV) chromium ## the same with everything that tests, training and docs need

# The result page is checked in a real browser where there is one. Without it those tests skip and say so.
chromium:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v chromium >/dev/null; then \
	  echo "installing chromium for the browser tests"; \
	  { timeout 120 apt-get -qq update && DEBIAN_FRONTEND=noninteractive timeout 300 \
	    apt-get -qq install -y --no-install-recommends chromium; } </dev/null >/dev/null 2>&1 \
	    || echo "no chromium: the browser tests will be skipped"; \
	fi

demo: install ## the two-minute tour: compress the sample photograph, compare, draw a picture
	$(BIN)/laconic demo -o $(OUT) --force

test: install-dev ## everything the tests need, then the tests
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS)

test-fast: install-dev ## the quick tests: under 90 seconds, for the working day
	$(BIN)/python $(PYTEST) -m "not slow" $(PYTEST_ARGS)

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -q --no-compile --only-binary :all: -c constraints-oldest.txt \
	  $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(OLDEST)/bin/python -m pip install -q --no-compile --only-binary :all: -c constraints-oldest.txt \
	  -e '.[train,eval,flows,bench,onnx,cryoem,test]'
	@touch $@

# One process, after a run that has compiled all loops: what compiles first would else count as slow.
slow-tests: install-dev ## measure all tests and list the slow ones in tests/slow_tests.txt
	$(BIN)/python $(PYTEST) --record-slow $(PYTEST_ARGS)

# Old packages warn of what newer ones deprecate: no error there.
test-oldest: $(OLDEST)/.installed ## quick tests with the oldest versions that pyproject.toml allows
	NUMBA_CACHE_DIR=$(CURDIR)/$(OLDEST)/numba $(OLDEST)/bin/python $(PYTEST) -m "not slow" \
	  -o filterwarnings=default $(PYTEST_ARGS) $(OLDEST_TESTS)

smoke: ## install the wheel into an empty environment and run every command there
	TORCH_INDEX=$(TORCH_INDEX) .ci/smoke $(PYTHON)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/python .ci/licences --check
	$(BIN)/python .ci/manual --check

types: install-dev
	$(BIN)/mypy

imports: install-dev
	$(BIN)/lint-imports

format-check: install-dev
	$(BIN)/ruff format --check .

check: lint format-check types imports ## ruff, mypy and the import contracts

format: install-dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

licences: install-dev ## list the licences of all dependencies in docs/licences.md
	$(BIN)/python .ci/licences

manual: install-dev ## write the manual page docs/laconic.1 from the commands' help
	$(BIN)/python .ci/manual

# Tools that look at an environment from outside, so that they add nothing to it.
$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -q 'cyclonedx-bom>=7' 'pip-audit>=2.9'
	@touch $@

sbom: install $(TOOLS)/.installed ## list what is installed as dist/sbom.json, in the form of CycloneDX
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml -o dist/sbom.json $(BIN)/python

# It asks the advisory database of the package index. Where that cannot be reached (offline, or a mirror without advisories), nothing is
# audited, and --strict makes it fail and say so.
audit: install $(TOOLS)/.installed ## compare what is installed with the known vulnerabilities; needs the network
	$(BIN)/python -m pip freeze --exclude-editable | grep '==' | sed 's/+[a-z0-9.]*$$//' > $(TOOLS)/installed.txt
	$(TOOLS)/bin/pip-audit --strict --no-deps --disable-pip -r $(TOOLS)/installed.txt

docs: install-dev ## build the documentation into site/
	$(BIN)/mkdocs build --strict

bench: install-dev ## speed and size of the relative entropy coders
	$(BIN)/laconic bench rec

clean: ## remove what the commands above made
	rm -rf $(VENV) $(OLDEST) $(TOOLS) site build dist .pytest_cache .mypy_cache .ruff_cache
