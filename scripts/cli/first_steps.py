"""What a command says that is given no word at all: what to try, or which runs there are."""

from collections.abc import Sequence
from pathlib import Path

RUNS = Path("runs")  # the default of out=
SHOWN = 8  # runs in a list

TRAIN = (
    "say what to train; to begin with, one of these:",
    (
        "  python train.py data=digits model=resnet8 attn=nam recipe=digits",
        "      nothing to download; half a minute",
        "  python scripts/table.py table=quickstart run=true",
        "      five networks with three seeds each, compared; a few minutes",
        "  python train.py model=resnet20 attn=nam recipe=cifar_short data.root=DIR",
        "      CIFAR-100 in DIR, or 169 MB are downloaded; ten epochs of a minute",
        "The times are those of two CPU cores. --help shows the options.",
    ),
)


def without_words(command: str) -> tuple[str, Sequence[str]] | None:
    """The answer to the command without words, as its first line and the others.

    None for a command that needs no word.
    """
    if command == "train":
        return TRAIN
    return _which_run() if command in ("eval", "cam") else None


def _which_run() -> tuple[str, Sequence[str]]:
    """The newest finished runs in the folder of all runs."""
    results = sorted(RUNS.rglob("result.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    if not results:
        return f"say run=DIR, the folder of a run; no run is finished below {RUNS}", ()
    more = f", the newest {SHOWN} of {len(results)}" if len(results) > SHOWN else ""
    found = f"say run=DIR; finished below {RUNS}{more}:"
    return found, [f"  {file.parent}" for file in results[:SHOWN]]
