# make demo   trains, evaluates, reports and exports on the embedded data (real masks: make demo DATA=path)
# make test   the tests              make test-all   with the slow tier
# make lint   ruff
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?=
RUN ?= runs/$(if $(DATA),$(notdir $(patsubst %/,%,$(DATA))),ambiguous_shapes)
DEMO_FLAGS ?=

.PHONY: demo test test-all lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/keras-ordseg benchmark $(if $(DATA),--data "$(DATA)") --output "$(RUN)" --overwrite $(DEMO_FLAGS)

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 $(TESTS)

test-all: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 -m "slow or not slow" $(TESTS)

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
	$(BIN)/python -m pip install --quiet -e ".[dev,medical]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info runs
