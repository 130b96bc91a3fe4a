# Every target makes the environment it needs: nothing to set up by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More of them let more tests run: make test EXTRAS=dev,text
EXTRAS ?= dev
TESTED := $(VENV)/.extras-$(EXTRAS)

.PHONY: environment demo quick test coverage mutants lint docs pages pictures package oldest clean

demo: $(VENV)/.cli
	$(BIN)/skroute demo

# All that the other targets install, so that several of them can run at once: make -j2
environment: $(TESTED) $(VENV)/.docs

# What takes a minute and a half: all but the tests that are marked in pyproject.toml.
quick: $(TESTED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q -m 'not (slow or browser or cluster or hostile)'

# One thread a process: two of each would wait for each other.
test: $(TESTED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# The tests, and what lines and branches they reach; less than 95% is a failure.
coverage: $(TESTED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q --cov

# Small errors that are put into the code on purpose, and whether the tests see them.
# Read them with `mutmut results` and `mutmut show NAME`; CI=1 has hypothesis repeat itself.
mutants: $(TESTED)
	$(BIN)/python -m pip install --quiet --editable '.[mutants]'
	CI=1 OMP_NUM_THREADS=1 nice $(BIN)/mutmut run --max-children 2

lint: $(TESTED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy skroute

# Warnings are errors; the examples of the gallery are run. Open docs/_build/html/index.html.
docs: $(VENV)/.docs
	rm -rf docs/_build docs/api/generated docs/auto_examples
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

# What was built, opened in Chromium: nothing is cut, and axe-core finds no serious fault.
# CHECK=--quick takes a minute, all of it some ten.
pages: $(VENV)/.docs
	$(BIN)/python docs/check_pages.py $(CHECK)

# The picture of this README and of the first page.
pictures: $(VENV)/.docs
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python docs/make_pictures.py

# A wheel and an archive in dist/, and what a stranger does first, in a clean environment.
package: | $(VENV)
	PYTHON=$(BIN)/python .ci/package

# The tests of the core on the oldest versions that pyproject.toml allows.
oldest: | $(VENV)
	PYTHON=$(BIN)/python .ci/oldest

$(VENV)/.docs: pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

$(VENV)/.cli: pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[cli]'
	touch $@

$(TESTED): pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@

$(VENV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skroute needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

clean:
	rm -rf $(VENV) build dist docs/_build docs/api/generated docs/auto_examples .mypy_cache .pytest_cache .ruff_cache .hypothesis
