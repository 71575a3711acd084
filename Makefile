# make install     environment in .venv
# make quickstart  train, test and draw on generated data; DATA=folder: on folder/images and folder/masks; SEED=n, OUT=folder
# make test        all tests, in two processes; SAMPLUG_TEST_DATA=folder adds those on real data and reference tensors
# make test-fast   the tests that neither train nor start processes: two minutes
# make lint        format, lint and types
# make docs        the site, in docs/_build/html; warnings are errors

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
OUT ?= quickstart_results
STAMP := $(VENV)/.installed
PARALLEL := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: install quickstart test test-fast lint docs

install: $(STAMP)

# Both OpenCV wheels install into one `cv2` and other packages pull the one with a window system: the headless one goes last.
$(STAMP): setup.py constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "samplug needs Python 3.11 or newer; use make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs,test]'
	$(BIN)/python -m pip uninstall --quiet --yes opencv-python opencv-python-headless
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps opencv-python-headless
	touch $@

quickstart: install
	$(BIN)/python tools/quickstart.py --out-dir $(OUT) --seed $(SEED) $(if $(DATA),--data $(DATA))

test: install
	$(BIN)/python -m pytest $(PARALLEL) --durations=25

test-fast: install
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html -c docs . docs/_build/html
