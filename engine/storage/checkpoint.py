"""Checkpoints that are whole or not there: written to a temporary name, synced, read back, renamed.

The newest two are kept. The CRC of each record, which torch itself does not check, shows whether a
checkpoint is damaged; then the checkpoint before it is used. Loading runs no code:
`weights_only=True`, always.
"""

import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ConfigError, ResourceError, first_line
from engine.storage.atomic import replacing, require_space

FORMAT = 2
NAMES = ("last.pt", "previous.pt")
NEWER = ("fused",)  # parts of a state that older checkpoints do not have


class Damaged(ValueError):
    """This file is not a checkpoint, or its contents have changed since it was written."""


class Writer:
    """Write the checkpoints of `folder` in a thread, one at a time, at most every `seconds`.

    A context: it waits for the last write at its end. An error of the thread is raised by the next
    call of `due`, `start` or `wait`.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.last = time.monotonic()  # when the last write began
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self.thread is not None:
            self.thread.join()
        if kind is None:
            self.wait()

    def due(self, in_epoch: bool) -> bool:
        """Whether it is time for another checkpoint.

        With `seconds` of 0 there is one after each epoch and none within an epoch.
        """
        if self.thread is not None and self.thread.is_alive():
            return False
        self.wait()
        elapsed = time.monotonic() - self.last
        return elapsed >= self.seconds and not (in_epoch and self.seconds == 0)

    def start(self, state: dict[str, Any]) -> None:
        """Begin to write `state`, which must not change; wait for the end of the write before."""
        self.wait()
        self.last = time.monotonic()
        # The number of threads belongs to the thread that trains, so it is read here.
        whole = _header() | state
        self.thread = threading.Thread(target=self._write, args=(whole,), name="checkpoint")
        self.thread.start()

    def wait(self) -> None:
        """Wait for the end of the write; raise its error."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def _write(self, state: dict[str, Any]) -> None:
        try:
            save(self.folder, state)
        except BaseException as error:  # the thread that trains raises it
            self.error = error


def save(folder: Path, state: dict[str, Any]) -> None:
    """Make `state` the newest checkpoint of `folder`; the newest so far becomes the previous one.

    ResourceError if the disk is full, or if the file cannot be read back.
    """
    last, previous = (folder / name for name in NAMES)
    keep = previous if _is_whole(last) else None  # a damaged file must not replace a good one
    try:
        with replacing(last, verify, keep) as file:
            torch.save(_header() | state, file)
    except Damaged as error:
        raise ResourceError(
            f"{last}: the file differs from the data that were written to it ({error}); "
            "the disk or the memory of this machine is failing"
        ) from error


def _header() -> dict[str, Any]:
    return {"format": FORMAT, "threads": torch.get_num_threads()}


def load(folder: Path, like: dict[str, Any]) -> dict[str, Any] | None:
    """The newest whole checkpoint in `folder`, on the CPU; None if there is no checkpoint.

    ConfigError if there are checkpoints and none can be used (to begin again would lose the run),
    if a newer version of attnbench wrote the checkpoint, or if its network is not that of `like`.
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
        state = {key: None for key in NEWER if key in like} | state
        if different := list(_differences(state, like)):
            raise ConfigError(f"{path} holds another network: {_some(different)}")
        if complaints:
            print(f"{folder}: {complaints[0]}; going on from {name}", file=sys.stderr)
        return state
    if complaints:
        raise ConfigError(
            f"{folder}: {'; '.join(complaints)}; restore one of them, "
            "or remove them to train from the beginning"
        )
    return None


def read(path: Path) -> dict[str, Any]:
    """The checkpoint in `path`; Damaged if a bit is wrong, ConfigError if its format is another."""
    verify(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        first = first_line(error)
        raise Damaged(f"torch cannot load it ({first or type(error).__name__})") from error
    number = state.pop("format", None) if isinstance(state, dict) else None
    if not isinstance(number, int) or number < 1:
        raise Damaged("it is not a checkpoint of a run")
    if number != FORMAT:
        raise ConfigError(f"{path} has format {number}; this version of attnbench reads {FORMAT}")
    return state


def verify(path: Path) -> None:
    """Damaged if `path` is not an archive, or if the CRC of a record does not match."""
    if path.exists() and not path.is_file():
        raise Damaged("it is no regular file")  # a pipe would be waited for, for ever
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # a flipped bit in a header can raise anything
        raise Damaged(f"it is not whole ({error})") from error
    if damaged:
        raise Damaged(f"its record {damaged} is damaged")


def compare_threads(folder: Path, state: Mapping[str, Any]) -> None:
    """Tell a run that goes on from `state` on the CPU with another number of threads.

    Its sums are then taken in another order.
    """
    before, now = state.get("threads"), torch.get_num_threads()  # older checkpoints have none
    if isinstance(before, int) and before != now:
        print(
            f"{folder}: trained with {before} thread(s) so far and {now} now, so its last bits "
            f"will differ from an unbroken run; set OMP_NUM_THREADS={before} to keep them equal",
            file=sys.stderr,
        )


def require_room(folder: Path, model: nn.Module) -> None:
    """ConfigError if `folder` has too little space for the checkpoints and the weights of a run."""
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    missing = 3 - sum((folder / name).exists() for name in NAMES)  # two, and the one being written
    require_space(folder, missing * 2 * weights + weights)  # 2: momentum is as large


def _is_whole(path: Path) -> bool:
    try:
        verify(path)
    except Damaged:
        return False
    return True


def _differences(state: dict[str, Any], like: dict[str, Any]) -> Iterator[str]:
    """The reason why a run with the state `like` cannot load `state`; None if it can."""
    yield from _other_keys({k: v for k, v in state.items() if k != "threads"}, like)
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
