"""Two checkouts share one environment: each command uses the packages beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ["train.py", "eval.py", *(f"scripts/{f.name}" for f in (ROOT / "scripts").glob("*.py"))]


@pytest.mark.parametrize("command", [name for name in COMMANDS if "__init__" not in name])
def test_a_command_uses_the_packages_of_its_own_checkout(command, tmp_path):
    for package in ("attn", "engine", "models", "report", "scripts"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('another checkout')")
    ended = subprocess.run(
        [sys.executable, str(ROOT / command), "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
