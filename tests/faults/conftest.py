"""Faults are counted: `tally` asserts that all of them were met, and notes how many.

A few of each by default; all of them with `ATTNBENCH_FAULTS=full`, as scripts/faults.py does, which
reads the notes from the file that `ATTNBENCH_FAULTS_NOTES` names.
"""

import json
import os

import pytest

from tests.faults.children import SMALL, run_of, train

FULL = os.environ.get("ATTNBENCH_FAULTS") == "full"


@pytest.fixture(scope="session")
def rounds():
    """`rounds(few, full)`: how often to do it, in the daily tests and in the long ones."""
    return lambda few, full: full if FULL else few


@pytest.fixture
def tally():
    """`tally("F2", what, outcomes)`: every outcome must be true; how many were is noted."""

    def note(fault, what, outcomes):
        reached, of = sum(map(bool, outcomes)), len(outcomes)
        if path := os.environ.get("ATTNBENCH_FAULTS_NOTES"):
            line = {"fault": fault, "what": what, "reached": reached, "of": of}
            with open(path, "a") as file:
                file.write(json.dumps(line) + "\n")
        assert reached == of > 0

    return note


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """The run SMALL, which nothing disturbed."""
    cwd = tmp_path_factory.mktemp("unbroken")
    assert train(cwd, *SMALL) == 0
    return run_of(cwd)
