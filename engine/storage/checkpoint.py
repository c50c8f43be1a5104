"""Checkpoints that are whole or not there: written aside, synced, read back, then renamed.

Two are kept. A damaged one is found by the CRC of each record, which torch itself does not check,
and the one before it is used. Loading runs no code: `weights_only=True`, always.
"""

import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ConfigError, ResourceError
from engine.storage.atomic import replacing, require_space

FORMAT = 2
NAMES = ("last.pt", "previous.pt")


class Damaged(ValueError):
    """This file is no checkpoint, or not the one that was written."""


def save(folder: Path, state: dict[str, Any]) -> None:
    """Make `state` the newest checkpoint of `folder`, and the newest so far the previous one."""
    last, previous = (folder / name for name in NAMES)
    keep = previous if _is_whole(last) else None  # a damaged one takes no good one's place
    try:
        with replacing(last, verify, keep) as file:
            header = {"format": FORMAT, "threads": torch.get_num_threads()}
            torch.save(header | state, file)
    except Damaged as error:
        raise ResourceError(
            f"{last}: what was written is not what can be read back ({error}); "
            "the disk or the memory of this machine is failing"
        ) from error


def load(folder: Path, like: dict[str, Any]) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, on the CPU; None where there is none.

    Says so if a run on the CPU had another number of threads, which sums in another order.
    ConfigError if none of those that are there can be used, for to begin again would be to lose the
    run; if it was written by a newer program; or if it is of another network than `like` is.
    """
    complaints = []
    for name in NAMES:
        path = folder / name
        if not path.exists():
            continue
        try:
            state = read(path)
        except Damaged as error:
            complaints.append(f"{name} cannot be used: {error}")
            continue
        threads = state.pop("threads", None)  # older ones do not tell
        if different := list(_differences(state, like)):
            raise ConfigError(f"{path} is of another network: {_some(different)}")
        if complaints:
            print(f"{folder}: {complaints[0]}; going on from {name}", file=sys.stderr)
        _tell_threads(folder, threads, like)
        return state
    if complaints:
        raise ConfigError(
            f"{folder}: {'; '.join(complaints)}; restore one of them, "
            "or remove them to train from the beginning"
        )
    return None


def read(path: Path) -> dict[str, Any]:
    """The checkpoint in `path`; Damaged if a bit is wrong, ConfigError if its format is newer."""
    verify(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        first = str(error).strip().partition("\n")[0]
        raise Damaged(f"torch cannot load it ({first or type(error).__name__})") from error
    number = state.pop("format", None) if isinstance(state, dict) else None
    if not isinstance(number, int) or number < 1:
        raise Damaged("it is no checkpoint of a run")
    if number != FORMAT:
        raise ConfigError(f"{path} has format {number}; this version of attnbench reads {FORMAT}")
    return state


def verify(path: Path) -> None:
    """Damaged if `path` is no archive, or a record of it has not the CRC it was written with."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # a flipped bit of a header may be any wrong number
        raise Damaged(f"it is not whole ({error})") from error
    if damaged:
        raise Damaged(f"its record {damaged} is damaged")


def require_room(folder: Path, model: nn.Module) -> None:
    """ConfigError if `folder` has too little room for a run's checkpoints and weights."""
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    missing = 3 - sum((folder / name).exists() for name in NAMES)  # two, and one that is written
    require_space(folder, missing * 2 * weights + weights)  # 2: momentum is as large


def _tell_threads(folder: Path, before: object, like: dict[str, Any]) -> None:
    now = torch.get_num_threads()
    on_cpu = all(tensor.device.type == "cpu" for tensor in like["model"].values())
    if on_cpu and isinstance(before, int) and before != now:
        print(
            f"{folder}: had {before} thread(s) so far and {now} now, so its last bits will not be "
            f"those of an unbroken run; with OMP_NUM_THREADS={before} they are",
            file=sys.stderr,
        )


def _is_whole(path: Path) -> bool:
    try:
        verify(path)
    except Damaged:
        return False
    return True


def _differences(state: dict[str, Any], like: dict[str, Any]) -> Iterator[str]:
    """What keeps `state` from being loaded into what `like` came from, in words."""
    yield from _other_keys(state, like)
    if "optimizer" in state and _groups(state) != _groups(like):
        yield "its optimizer has other parameters"
    there, here = state.get("model"), like["model"]
    if not isinstance(there, Mapping):
        return
    yield from _other_keys(there, here)
    for key in [key for key in here if key in there]:
        if not isinstance(there[key], Tensor) or there[key].shape != here[key].shape:
            yield f"{key} is {_shape(there[key])} there and {_shape(here[key])} here"


def _other_keys(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{key} is missing" for key in here if key not in there)
    yield from (f"{key} is not in this one" for key in there if key not in here)


def _groups(state: dict[str, Any]) -> list[int] | None:
    try:
        return [len(group["params"]) for group in state["optimizer"]["param_groups"]]
    except (KeyError, TypeError):
        return None


def _shape(value: Any) -> str:
    return "×".join(map(str, value.shape)) or "one" if isinstance(value, Tensor) else "no tensor"


def _some(differences: list[str]) -> str:
    more = f", and {len(differences) - 4} more" if len(differences) > 4 else ""
    return ", ".join(differences[:4]) + more
