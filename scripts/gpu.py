"""Test and measure attnbench on a CUDA GPU: `python scripts/gpu.py`.

Runs the tests with the mark `gpu`, then scripts/speed.py with the options of SPEED, and prints a
table of five lines. Everything is kept below speed/gpu. The exit code is 2 without a GPU, so that
nobody takes a machine without one for a machine that passed, and 1 if a test or a measurement
failed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

import argparse
import subprocess

from report.formats.gpu_table import five_lines
from report.speed import from_json
from scripts.cli.app import refuse

ROOT = Path(__file__).parent.parent
OUT = Path("speed/gpu")
MODELS = "model=resnet20,resnet18,resnet50,mobilenet_v2"
ATTNS = "attn=none,nam,se,cbam"
SPEED = {  # folder -> options
    "loop": ("what=loop", MODELS, ATTNS, "precision=bf16", "graph=true,false"),
    "networks": (MODELS, ATTNS, "precision=fp32,bf16,fp16"),
    "compile": (
        "what=loop", "model=resnet20,resnet18", "attn=none,nam", "precision=bf16",
        "compile=null,default,reduce-overhead",
    ),
}  # fmt: skip
COMMON = ("device=cuda", "batch_size=128", "seconds=5")


def main() -> int:
    """Test, measure, and print the five lines; return the exit code."""
    import torch

    if not torch.cuda.is_available():
        return refuse("torch finds no CUDA GPU here; nothing was tested or measured")
    passed = {"tests": python("-m", "pytest", "-q", "-m", "gpu", str(ROOT / "tests"))}
    passed |= {name: python(*speed_command(name)) for name in SPEED}
    if passed["loop"]:
        text = five_lines(from_json((OUT / "loop/speed.json").read_text(encoding="utf-8")))
        (OUT / "gpu.md").write_text(text, encoding="utf-8")
        print(text)
    if failed := [name for name, good in passed.items() if not good]:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def speed_command(name: str) -> list[str]:
    """The words after `python` for one measurement of SPEED."""
    return [str(ROOT / "scripts/speed.py"), *SPEED[name], *COMMON, f"to={OUT / name}"]


def python(*words: str) -> bool:
    """Run Python with these words; whether it succeeded."""
    return subprocess.run([sys.executable, *words]).returncode == 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.exit(main())
