# make demo   trains, evaluates, reports and exports on the embedded data (real masks: make demo DATA=path, and what else
#             keras-ordseg benchmark takes: make demo DATA=path DEMO_FLAGS="--size 128 --folds 5")
# make test       the tests, minutes
# make test-fast  those of ops, layers, losses, metrics and raters but for the dear ones: a minute or so
# make test-all   with the slow tier, compiled as users do, and the core without TensorFlow on JAX and torch: hours
# make lint       ruff
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?=
# named after the whole path, so that two folders called masks do not share a run
RUN ?= runs/$(if $(DATA),$(subst /,-,$(patsubst /%,%,$(patsubst %/,%,$(DATA)))),ambiguous_shapes)
DEMO_FLAGS ?=
# On Linux a plain torch is a CUDA build of several GB; TORCH="torch --index-url https://download.pytorch.org/whl/cpu" is small
TORCH ?= torch==2.13.0
LIGHT := $(VENV)-light
CORE := tests/ops tests/layers/test_head.py tests/layers/test_links.py tests/losses tests/test_contract.py

# neighbours share what a module makes; who is done first takes from the other
PYTEST := -m pytest -n 2 --dist worksteal
FAST := tests/ops tests/layers tests/losses tests/metrics tests/raters tests/test_checks.py tests/test_contract.py

.PHONY: demo test test-fast test-all test-light lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/keras-ordseg benchmark $(if $(DATA),--data "$(DATA)") --output "$(RUN)" --overwrite $(DEMO_FLAGS)

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/python $(PYTEST) $(TESTS)

test-fast: $(VENV)/.installed-dev
	$(BIN)/python $(PYTEST) -m "not slow and not dear" $(FAST)

test-all: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/python $(PYTEST) -m "slow or not slow" $(TESTS)
	$(MAKE) test-light

test-light: $(LIGHT)/.installed
	KERAS_BACKEND=jax $(LIGHT)/bin/python $(PYTEST) $(CORE) tests/test_backends.py
	KERAS_BACKEND=torch $(LIGHT)/bin/python $(PYTEST) $(CORE)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "keras_ordseg needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing keras_ordseg with TensorFlow into $(VENV) (about 2 GB, once)"
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing keras_ordseg with TensorFlow and its tests' needs into $(VENV) (about 3 GB, once)"
	$(BIN)/python -m pip install --quiet -e ".[dev,medical,serving,convert]"
	@touch $@ $(VENV)/.installed

# Without TensorFlow and keras-cv; with the public implementations that tests/losses/test_peers.py compares with
$(LIGHT)/.installed: setup.cfg pyproject.toml
	@echo "Installing keras_ordseg without TensorFlow into $(LIGHT) (about 3 GB, once)"
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python -m pip install --quiet --upgrade pip
	$(LIGHT)/bin/python -m pip install --quiet $(TORCH)
	$(LIGHT)/bin/python -m pip install --quiet "keras>=3.15" jax scipy pillow tifffile matplotlib jinja2 pyyaml pytest pytest-xdist hypothesis \
	  scikit-learn SimpleITK coral-pytorch dlordinal monai
	$(LIGHT)/bin/python -m pip install --quiet --no-deps -e .
	@touch $@

clean:
	rm -rf $(VENV) $(LIGHT) build dist *.egg-info runs
