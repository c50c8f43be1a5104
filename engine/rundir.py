"""The directory of one run: who may write there, what was asked for, and what came out.

    config.yaml          what was asked for, every value resolved
    metrics.jsonl        one line per finished epoch
    last.pt previous.pt  the newest checkpoint, and the one before it
    events.out.*         TensorBoard
    weights.safetensors  the final weights
    result.json          written last: the run is finished if it is there

Nothing here imports torch, so that a finished run is recognised at once.
"""

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from engine.errors import Refused

# Where a run happens is no part of what it is.
MACHINE = ("device", "out", "data.root", "data.workers", "data.timeout")


class RunDir:
    """`path`, the resolved `config` it is for, and the `labels` to file its result under.

    Labels are the names of the choices (data, model, attn, recipe), what else was overridden
    (other), and the seed.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], labels: Mapping[str, Any]) -> None:
        self.path = path
        self.config = config
        self.labels = labels

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the configuration, without what belongs to the machine."""
        return hashlib.sha256(json.dumps(_identity(self.config)).encode()).hexdigest()

    def result(self) -> dict[str, Any] | None:
        """What the finished run measured; None if it is not finished; Refused if it is another."""
        self._compare()
        return read_json(self.path / "result.json")

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the directory against other processes and note in it what it is for."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise Refused(f"{self.path} cannot be written to: {error.strerror}") from error
        with lock:
            _take(lock, self.path)
            self._compare()
            write_text(self.path / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
            try:
                yield
            finally:
                self._leave()

    def _compare(self) -> None:
        try:
            found = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        there, here = _identity(found), _identity(self.config)
        differing = [key for key in {**there, **here} if there.get(key) != here.get(key)]
        if differing:
            first = [f"{k}: {there.get(k)} -> {here.get(k)}" for k in differing[:3]]
            more = [f"{len(differing) - 3} more"] if len(differing) > 3 else []
            raise Refused(
                f"{self.path} holds a run of another configuration ({', '.join(first + more)}); "
                "remove it, or choose another out=..."
            )

    def _leave(self) -> None:
        """Take away what `claim` made if nothing came of it."""
        if {file.name for file in self.path.iterdir()} <= {"lock", "config.yaml"}:
            for file in self.path.iterdir():
                file.unlink()
            os.removedirs(self.path)


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flat(config) if key not in MACHINE}


def flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings by their dotted keys; lists are leaves."""
    if not isinstance(tree, Mapping):
        yield prefix, tree
        return
    for key, value in tree.items():
        yield from flat(value, f"{prefix}.{key}" if prefix else str(key))


def read_json(path: Path) -> Any:
    """The contents, or None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step: a reader sees the old text or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _take(lock: Any, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        raise Refused(f"{path} is in use by {lock.read().strip()}") from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
