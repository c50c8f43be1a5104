"""Inject faults and count how many are handled: `python scripts/faults.py [F2 F4 ...]`.

Runs the tests of tests/faults that are marked with the chosen faults, each as often as
docs/reliability.md says, and prints one Markdown table. The exit code is 1 if a test failed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

import argparse
import contextlib
import io
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping

import pytest

from engine.environment import revision

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests" / "faults"


class MarkedFiles:
    """A pytest plugin that lists the faults of each test file: `@pytest.mark.fault("F7", "F8")`."""

    def __init__(self) -> None:
        self.faults: dict[Path, set[str]] = {}

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Add the faults of one test to those of its file; pytest calls this for every test."""
        for marker in item.iter_markers("fault"):
            self.faults.setdefault(item.path, set()).update(marker.args)


def main() -> int:
    """Run the tests of the chosen faults, one file after the other, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("faults", nargs="*", type=str.upper, help="such as F1 or B8; default: all")
    chosen = set(parser.parse_args().faults)
    marked = collect_faults(TESTS)
    if unknown := chosen.difference(*marked.values()):
        known = ", ".join(sorted(set().union(*marked.values()), key=_order))
        parser.error(f"no test injects {', '.join(sorted(unknown))}; choose from {known}")
    files = [file for file, faults in marked.items() if not chosen or faults & chosen]
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder, "notes.jsonl")
        notes.touch()
        failed = [file.name for file in files if not passes(file, notes)]
        counts = [json.loads(line) for line in notes.read_text().splitlines()]
    print(table(count for count in counts if not chosen or count["fault"] in chosen))
    print(f"\n{revision()}, {platform.platform()}, {os.cpu_count()} cores")
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def collect_faults(tests: Path) -> dict[Path, set[str]]:
    """The faults that each test file below `tests` is marked with; files without a mark are absent.

    SystemExit with pytest's output if pytest cannot collect the tests.
    """
    plugin, output = MarkedFiles(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = pytest.main(
            ["--collect-only", "-q", f"--config-file={ROOT / 'pyproject.toml'}", str(tests)],
            [plugin],
        )
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        sys.exit(output.getvalue())
    return dict(sorted(plugin.faults.items()))


def passes(file: Path, notes: Path) -> bool:
    """Whether all tests of the file pass; the output of pytest is printed only if one fails."""
    print(f"{file.name} ... ", end="", file=sys.stderr, flush=True)
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(file)],
        cwd=ROOT,
        env={**os.environ, "ATTNBENCH_FAULTS": "full", "ATTNBENCH_FAULTS_NOTES": str(notes)},
        capture_output=True,
        text=True,
    )
    word = "FAILED" if ended.returncode else "passed"
    print(f"{word} ({time.monotonic() - started:.0f} s)", file=sys.stderr)
    if ended.returncode:
        print(ended.stdout, ended.stderr, file=sys.stderr)
    return not ended.returncode


def table(counts: Iterable[Mapping[str, object]]) -> str:
    """Markdown: one line for each fault and kind of test, in the order of the faults."""
    sums: dict[tuple[str, str], list[int]] = {}
    for count in counts:
        total = sums.setdefault((count["fault"], count["what"]), [0, 0])
        total[:] = total[0] + count["reached"], total[1] + count["of"]
    ordered = sorted(sums.items(), key=lambda item: _order(item[0][0]))
    lines = [f"| {fault} | {what} | {n} | {of} |" for (fault, what), (n, of) in ordered]
    return "\n".join(["| fault | what | reached | of |", "|---|---|---|---|", *lines])


def _order(fault: str) -> tuple[bool, int]:
    """F1, F2, ..., F15, B1, ..."""
    return fault[0] != "F", int(fault[1:])


if __name__ == "__main__":
    sys.exit(main())
