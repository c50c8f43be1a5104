"""`tally` counts faults: it asserts that every fault was survived, and notes the number.

By default the tests inject a few faults of each kind; with `ATTNBENCH_FAULTS=full`, all of them.
scripts/faults.py sets this, and reads the notes from the file in `ATTNBENCH_FAULTS_NOTES`.
"""

import json
import os

import pytest

from tests.faults.children import SMALL, run_of, train

FULL = os.environ.get("ATTNBENCH_FAULTS") == "full"


@pytest.fixture(scope="session")
def rounds():
    """`rounds(few, full)`: how often to inject a fault; `full` in the long tests."""
    return lambda few, full: full if FULL else few


@pytest.fixture
def tally():
    """`tally("F2", what, outcomes)`: every outcome must be true; note the number."""

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
    """An uninterrupted run SMALL."""
    cwd = tmp_path_factory.mktemp("unbroken")
    assert train(cwd, *SMALL) == 0
    return run_of(cwd)
