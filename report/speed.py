"""Measurements of `scripts/speed.py`: times of all workloads -> ratios, CSV, JSON."""

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

OPERATIONS = {
    "train": 6,
    "infer": 2,
}  # per multiply-accumulate; training is three forward passes
RATIOS = (  # of one row, for training and for inference
    "over_plain", "speedup", "over_loop", "over_convolutions", "over_arithmetic", "loader_share",
)  # fmt: skip
Times = Mapping[str, Sequence[float]]  # workload -> seconds per image, round by round


@dataclass(frozen=True)
class Ratio:
    """The ratio of two times of the same round: median and range over the rounds."""

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
class SpeedRow:
    """One reported workload: its `name`, its `chosen` options, and the workloads to compare with.

    `plain` is the same network without attention. `against` is the reference for all precisions
    and modes. `loop` trains the same epoch in plain PyTorch. `beside` does what an epoch does
    without its steps, and, in inference, writes a checkpoint. `convolutions`, `arithmetic` and
    `loader` measure parts of the work. `macs` counts multiply-accumulates per image.
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
    beside: str | None = None


@dataclass(frozen=True)
class Speed:
    """All measurements: seconds per image of each workload, round by round; bytes per step.

    For a matrix product, one "image" is one multiply-accumulate. `loaders` maps our loader to the
    torchvision loader that it is compared with. `setting` holds the options that all rows share.
    """

    rows: Sequence[SpeedRow]
    train: Times
    infer: Times
    memory: Mapping[str, int]
    loaders: Mapping[str, str]
    setting: Mapping[str, Any]


def numbers(speed: Speed, row: SpeedRow) -> dict[str, Any]:
    """The reported numbers of a row by CSV column. None: not measured."""
    own, plain = speed.memory[row.name], speed.memory.get(row.plain or "")
    return {
        **_numbers("train", speed.train, row),
        **_numbers("infer", speed.infer, row),
        "memory_mb": own / 2**20,
        "memory_ratio": own / plain if plain else None,
        "epoch_beside_seconds": _median(speed.train.get(row.beside or "")),
        "checkpoint_seconds": _median(speed.infer.get(row.beside or "")),
    }


def _median(times: Sequence[float] | None) -> float | None:
    return statistics.median(times) if times else None


def _numbers(kind: str, times: Times, row: SpeedRow) -> dict[str, Any]:
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
    """CSV: one line per row, numbers in full precision, the range in columns _min and _max."""
    lines = [{**row.chosen, **_flat(numbers(speed, row)), **speed.setting} for row in speed.rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def in_json(speed: Speed) -> str:
    """All measurements as JSON, every round included."""
    return json.dumps(asdict(speed), indent=1) + "\n"


def from_json(text: str) -> Speed:
    """The measurements that `in_json` wrote."""
    found = json.loads(text)
    return Speed(**found | {"rows": [SpeedRow(**row) for row in found["rows"]]})


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in found.items():
        if key.partition("_")[2] not in RATIOS:
            flat[key] = value
            continue
        for end, part in (("", "median"), ("_min", "low"), ("_max", "high")):
            flat[key + end] = getattr(value, part) if value else None
    return flat
