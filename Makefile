PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test gpu clean

quickstart: .venv/installed  ## install, train on real digits with none, se and nam, compare
	$(BIN)/python scripts/table.py table=quickstart run=true

test: .venv/installed  ## all that must hold before a commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -n auto

gpu: .venv/installed  ## test and measure on a CUDA GPU; the numbers stay in speed/gpu
	$(BIN)/python scripts/gpu.py

clean:  ## everything but your runs and data
	rm -rf .venv *.egg-info .pytest_cache .ruff_cache

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
