import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def cost(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/cost.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_published_counts_and_options_of_the_command_line():
    ended = cost("model=resnet50", "attn=none,se", "attn.bias=false", "json=true")
    assert ended.returncode == 2  # none has no bias
    (row,) = json.loads(cost("model=resnet50", "attn=se", "attn.bias=false", "json=true").stdout)
    assert row["params"] == 26_220_196


def test_a_pair_that_does_not_fit_is_told_and_left_out():
    ended = cost("model=resnet20", "attn=none,se", "++attn.reduction=32")
    assert ended.returncode == 2
    table = cost("model=resnet20,resnet18", "attn=cbam", "attn.reduction=32").stdout
    assert "resnet20 with cbam: model: reduction=32 does not fit 16 channels" in table
    assert "| resnet18 | cbam |" in table


@pytest.mark.parametrize("argument", ["attn=foo", "model=resnet18,resnet5", "model.width=1"])
def test_wrong_names_are_refused_in_one_line(argument):
    ended = cost(argument)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
