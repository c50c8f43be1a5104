"""The cost of every network and of every mechanism equals the recorded cost. To record:

python scripts/cost.py model=all attn=none json=true > tests/models/cost_of_models.json
python scripts/cost.py model=resnet50 attn=all json=true > tests/models/cost_of_attention.json
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize(
    ("golden", "arguments"),
    [
        ("cost_of_models.json", ("model=all", "attn=none")),
        ("cost_of_attention.json", ("model=resnet50", "attn=all")),
    ],
)
def test_no_network_changed_its_cost(golden, arguments):
    command = [sys.executable, "-m", "scripts.cost", *arguments, "json=true"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == json.loads((HERE / golden).read_text())
