"""What `scripts/speed.py` measured: the times of all workloads -> ratios, CSV, JSON."""

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

OPERATIONS = {"train": 6, "infer": 2}  # per multiply-accumulate; the backward pass is two of them
RATIOS = (  # of a row, in training and in inference
    "over_plain", "speedup", "over_loop", "over_convolutions", "over_arithmetic", "loader_share",
)  # fmt: skip
Times = Mapping[str, Sequence[float]]  # seconds for an image, round by round


@dataclass(frozen=True)
class Ratio:
    """Of two times of the same round: the median over the rounds, and the range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, own: Sequence[float], base: Sequence[float]) -> "Ratio":
        ratios = [a / b for a, b in zip(own, base, strict=True)]
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} [{self.low:{form}}, {self.high:{form}}]"


@dataclass(frozen=True)
class Row:
    """A workload that is reported, what was `chosen` for it, and the names of the others.

    `plain` has no attention, `against` is the reference for all precisions and modes, `loop` does
    the same epoch in bare torch; `convolutions`, `arithmetic` and `loader` take part of its time.
    """

    name: str
    chosen: Mapping[str, str]
    plain: str | None = None
    against: str | None = None
    macs: int = 0
    convolutions: str | None = None
    arithmetic: str | None = None
    loader: str | None = None
    loop: str | None = None


@dataclass(frozen=True)
class Speed:
    """A race: seconds for an image of each workload, round by round, and bytes of a step.

    An "image" of a matrix product is one multiply-accumulate. `loaders` names the usual loader
    beside ours; `setting` is what was the same for all.
    """

    rows: Sequence[Row]
    train: Times
    infer: Times
    memory: Mapping[str, int]
    loaders: Mapping[str, str]
    setting: Mapping[str, Any]


def numbers(speed: Speed, row: Row) -> dict[str, Any]:
    """All that is reported of a row, by its name in the CSV; None where it was not measured."""
    own, plain = speed.memory[row.name], speed.memory.get(row.plain or "")
    return {
        **_numbers("train", speed.train, row),
        **_numbers("infer", speed.infer, row),
        "memory_mb": own / 2**20,
        "memory_ratio": own / plain if plain else None,
    }


def _numbers(kind: str, times: Times, row: Row) -> dict[str, Any]:
    own = times[row.name]
    floor = [row.macs * seconds for seconds in times.get(row.arithmetic or "", ())]

    def over(base: str | None) -> Ratio | None:
        return Ratio.of(own, times[base]) if base in times else None

    def under(other: str | None) -> Ratio | None:
        return Ratio.of(times[other], own) if other in times else None

    return {
        f"{kind}_images_per_second": 1 / statistics.median(own),
        f"{kind}_over_plain": over(row.plain),
        f"{kind}_speedup": under(row.against),
        f"{kind}_over_loop": over(row.loop),
        f"{kind}_over_convolutions": over(row.convolutions),
        f"{kind}_over_arithmetic": Ratio.of(own, floor) if floor else None,
        f"{kind}_gflops": OPERATIONS[kind] * row.macs / statistics.median(own) / 1e9 or None,
        f"{kind}_loader_share": under(row.loader),
    }


def spreadsheet(speed: Speed) -> str:
    """CSV: one line for each row, numbers in full; the ends of a range in columns of their own."""
    lines = [{**row.chosen, **_flat(numbers(speed, row)), **speed.setting} for row in speed.rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def in_json(speed: Speed) -> str:
    """Everything, round by round."""
    return json.dumps(asdict(speed), indent=1) + "\n"


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in found.items():
        if key.partition("_")[2] not in RATIOS:
            flat[key] = value
            continue
        for end, part in (("", "median"), ("_min", "low"), ("_max", "high")):
            flat[key + end] = getattr(value, part) if value else None
    return flat
