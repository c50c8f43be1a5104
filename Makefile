PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test docs gpu clean

quickstart: .venv/installed  ## install, train five networks on real digits, compare
	$(BIN)/python scripts/table.py table=quickstart run=true

test: .venv/installed  ## all that must hold before a commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -n auto

docs: .venv/installed  ## the documentation as a site, in site/index.html
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

gpu: .venv/installed  ## test and measure on a CUDA GPU; the numbers stay in speed/gpu
	$(BIN)/python scripts/gpu.py

clean:  ## everything but your runs and data
	rm -rf .venv site *.egg-info .pytest_cache .ruff_cache

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
