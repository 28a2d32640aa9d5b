# Needs Python 3.11 or later, pip and make; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
# One process a core: the tensors of the tests are tiny, so each computes on one thread.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: demo test test-all test-on test-lowest release lint gauges records bench notebooks notebooks-check browser-check docs docs-version clean

demo: .venv/installed
	$(BIN)/ppl-vae train vae --data digits --latent-dim 2 --likelihood '{"name": "gaussian", "sigma": "learned"}' \
	  --network '{"name": "mlp", "hidden": [200, 100], "activation": "relu"}' \
	  --epochs 150 --batch-size 64 --lr 3e-3 --out runs/demo --resume

test: .venv/installed
	$(PYTEST)

test-all: .venv/installed
	$(PYTEST) -m "not gpu" --durations=15

# The default suite in an environment of its own, without constraints, on any Python; recorded.
# make test-on PYTHON=python3.13
test-on:
	$(PYTHON) packaging/test_on.py

test-lowest:
	$(PYTHON) packaging/test_on.py --lowest

# Everything of a release but the upload.
release: .venv/installed
	$(BIN)/python packaging/release.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# How the package reads, in numbers, beside what is aimed at.
gauges: .venv/installed
	$(BIN)/python benchmarks/gauges.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	touch $@

# Say in benchmarks/provenance.json and in the README which records are older than the code that they measure.
records:
	$(PYTHON) benchmarks/provenance.py --mark

# The peers that the speed benchmark measures itself against.
.venv/bench: .venv/installed
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[bench]"
	touch $@

bench: .venv/bench
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/mnist_published.py
	$(BIN)/python benchmarks/mnist_recipes.py

# Each in a clean kernel, two at a time, and stored; an error, a warning or 180 CPU seconds are a failure.
notebooks: .venv/installed
	$(BIN)/python notebooks/execute.py

# The same on copies, by the test suite: nothing is stored.
notebooks-check: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist load --maxschedchunk 1 -m notebook --durations=0 tests/test_notebooks.py

# Pages in a headless chromium (apt-get install chromium chromium-driver); skipped, with the reason, where there is none.
browser-check: .venv/installed
	$(BIN)/python -m pytest -q -m browser -rs tests/explore

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[docs]"
	touch $@

# Strictly, into site/: a broken link, or a docstring that cannot be read, is a failure. Nothing is fetched.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/python -m pytest -q tests/test_docs.py

# The site of this version beside those of others, on the local branch gh-pages; pushing it publishes them.
docs-version: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mike deploy --update-aliases $$($(BIN)/ppl-vae --version | cut -d' ' -f2) latest

clean:
	rm -rf .venv runs site
