"""Inject every fault as often as is claimed, and count: `python scripts/faults.py [F2 F4 ...]`.

Runs tests/faults in full and prints one Markdown table. The exit code is 1 if one was not met.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.environment import revision

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Run the tests of the chosen groups, one file after the other, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "groups", nargs="*", type=str.upper, help="F1 to F15, B1 to B8; default all"
    )
    chosen = parser.parse_args().groups
    files = {file: groups(file) for file in sorted((ROOT / "tests" / "faults").glob("test_*.py"))}
    if unknown := set(chosen) - {group for of in files.values() for group in of}:
        parser.error(f"no tests of {', '.join(sorted(unknown))}")
    wanted = [file for file, of in files.items() if not chosen or set(of) & set(chosen)]
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder, "notes.jsonl")
        notes.touch()
        failed = [file.name for file in wanted if not passes(file, notes)]
        rows = [json.loads(line) for line in notes.read_text().splitlines()]
    rows = [row for row in rows if not chosen or row["fault"] in chosen]
    print(table(rows))
    print(f"\n{revision()}, {platform.platform()}, {os.cpu_count()} cores")
    if failed:
        print(f"\nnot met: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def groups(file: Path) -> list[str]:
    """The faults that a test file is about: test_f7_f8_together.py is about F7 and F8."""
    words = file.stem.split("_")[1:]
    return [word.upper() for word in words if word[0] in "bf" and word[1:].isdigit()]


def passes(file: Path, notes: Path) -> bool:
    """Whether all tests of the file pass; what pytest says is shown only if they do not."""
    print(f"{file.name} ... ", end="", file=sys.stderr, flush=True)
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(file)],
        cwd=ROOT,
        env={**os.environ, "ATTNBENCH_FAULTS": "full", "ATTNBENCH_FAULTS_NOTES": str(notes)},
        capture_output=True,
        text=True,
    )
    word = "FAILED" if ended.returncode else "met"
    print(f"{word} ({time.monotonic() - started:.0f} s)", file=sys.stderr)
    if ended.returncode:
        print(ended.stdout, ended.stderr, file=sys.stderr)
    return not ended.returncode


def table(rows: Iterable[Mapping[str, object]]) -> str:
    """One line for each fault and what was done, in the order of their numbers."""
    sums: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        counts = sums.setdefault((row["fault"], row["what"]), [0, 0])
        counts[:] = counts[0] + row["reached"], counts[1] + row["of"]
    ordered = sorted(sums.items(), key=lambda item: (item[0][0][0] != "F", int(item[0][0][1:])))
    lines = [f"| {fault} | {what} | {n} | {of} |" for (fault, what), (n, of) in ordered]
    return "\n".join(["| fault | what | reached | of |", "|---|---|---|---|", *lines])


if __name__ == "__main__":
    sys.exit(main())
