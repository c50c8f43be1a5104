"""An unwritable directory is refused in one line before torch is imported."""

import os
import subprocess
import sys

import pytest

from tests.faults.children import ROOT, SMALL, train

pytestmark = pytest.mark.fault("F6")


def places(tmp_path):
    """These places fail for root, too; permissions do not stop root."""
    (tmp_path / "file").write_text("")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").write_text("")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere" / "at" / "all")
    yield "/proc/runs", "No such file or directory"
    yield tmp_path / "file", "Not a directory"
    yield tmp_path / "runs", "Not a directory"
    yield tmp_path / "broken", "File exists"
    yield "/dev/null/runs", "Not a directory"


def refused(place, why):
    code = (
        "import sys, train\n"
        "from scripts.cli.app import run_app\n"
        "try:\n    run_app(train.main, 'train')\n"
        "finally:\n    print('torch' in sys.modules)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *SMALL, f"out={place}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    one_line = ended.stderr.count("\n") == 1 and str(place) in ended.stderr and why in ended.stderr
    return ended.returncode == 2 and one_line and ended.stdout == "False\n"


def test_places_that_cannot_be_written_to(tmp_path, rounds, tally):
    outcomes = [refused(*place) for place in list(places(tmp_path))[: rounds(2, 5)]]
    tally("F6", "no directory can be there: refused before torch is imported", outcomes)


def test_control_a_place_that_can_is_not_refused(tmp_path):
    assert train(tmp_path, *SMALL, f"out={tmp_path}/good") == 0
