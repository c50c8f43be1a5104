"""The directory of one run: its lock, its configuration and its files.

    config.yaml          the configuration, every value resolved
    metrics.jsonl        one line per finished epoch
    last.pt previous.pt  the newest checkpoint, and the one before it
    events.out.*         TensorBoard
    lock                 exists while a process trains the run
    weights.safetensors  the final weights
    result.json          written last; a run with this file is finished

This file imports no torch, so a finished run is recognised at once.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from engine.errors import ConfigError, as_config_error, first_line
from engine.storage.atomic import UNFINISHED, read_json, write_text
from engine.storage.lock import locked
from engine.storage.origin import Origin
from engine.storage.renamed import modernize
from engine.storage.strict import parse_yaml, read_text

# The machine of a run is no part of its identity.
MACHINE_OPTIONS = (
    "device", "out", "checkpoint_seconds", "graph", "data.root", "data.workers", "data.timeout",
)  # fmt: skip
# Newer options, with the value that older runs had.
ADDED_OPTIONS = {
    "seed_init": None, "seed_order": None, "seed_augment": None,
    "syncbn": False, "compile": None, "deterministic": True, "data.name": None,
    "model.weights_partial": False, "recipe.lr_scale": None, "recipe.freeze": None,
    "model.in_channels": 3, "data.channels": 3,
    "model.slots.gain._target_": "attn.WithGain", "model.slots.gain.gain": 1.0,
}  # fmt: skip
WEIGHTS = "model.weights"
MADE_FROM = "made_from"  # the key of the run's origin in config.yaml


class RunDir:
    """The directory `path` of the run with the resolved configuration `config`.

    `labels` go into the result: the choices (data, model, attn, recipe), the other changed options
    (other), and the seed.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], labels: Mapping[str, Any]) -> None:
        self.path = path
        self.config = config
        self.labels = labels

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the configuration without the options of the machine."""
        return hashlib.sha256(json.dumps(_identity(self.config)).encode()).hexdigest()

    def result(self) -> dict[str, Any] | None:
        """The result; None if the run is unfinished; ConfigError if another run is stored here."""
        self._compare()
        path = self.path / "result.json"
        result = read_json(path)
        if result is None and not path.exists():
            return None
        if not _is_result(result):
            raise ConfigError(f"{path} is no result of a run; remove it, or restore it")
        return result

    @contextmanager
    def claim(self) -> Iterator[None]:
        """A context that holds the directory's lock and stores the configuration."""
        with ExitStack() as held:
            held.callback(_remove_if_empty, self.path)
            with as_config_error(f"{self.path} cannot be written to"):
                held.enter_context(locked(self.path))
            self._compare()
            held.callback(self._leave)
            for unfinished in self.path.glob(f"*{UNFINISHED}"):
                unfinished.unlink()
            self._write_config(self.origin)
            yield

    def compare_origin(self, now: Origin) -> None:
        """ConfigError if the run in this directory was made from other images or weights."""
        stored = self.origin
        if stored is not None and (differing := stored.differences(now)):
            raise ConfigError(
                f"{self.path} holds a run of other data ({'; '.join(differing)}); say "
                "data.name=ANOTHER or out=ANOTHER for these, or remove the run"
            )

    def store_origin(self, now: Origin) -> None:
        """Store what the run is made from, if it is not stored yet; see `compare_origin`."""
        self.compare_origin(now)
        self._write_config(now)

    def differences(self) -> list[str] | None:
        """The differences of the stored configuration, as `key: stored -> given`.

        None where no configuration is stored; ConfigError where the stored one cannot be read.
        """
        found = self._stored()
        if found is None:
            return None
        there, here = _identity(found), _identity(self.config)
        differing = [key for key in {**there, **here} if there.get(key) != here.get(key)]
        return [f"{key}: {there.get(key)} -> {here.get(key)}" for key in differing]

    def _stored(self) -> dict[str, Any] | None:
        path = self.path / "config.yaml"
        try:
            return parse_yaml(read_text(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            first = first_line(error)
            raise ConfigError(f"{path} cannot be read ({first}); choose another out=...") from error

    @property
    def origin(self) -> Origin | None:
        """The stored origin of the run; None for an older run, which does not know its origin."""
        stored = (self._stored() or {}).get(MADE_FROM)
        return None if stored is None else Origin.of(stored)

    def _write_config(self, origin: Origin | None) -> None:
        content = self.config | ({MADE_FROM: origin.as_dict()} if origin else {})
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        if not (self.path / "config.yaml").exists() or self._stored() != content:
            write_text(self.path / "config.yaml", text)

    def _compare(self) -> None:
        if differing := self.differences():
            more = [f"{len(differing) - 3} more"] if len(differing) > 3 else []
            raise ConfigError(
                f"{self.path} holds a run of another configuration "
                f"({', '.join(differing[:3] + more)}); remove it, or choose another out=..."
            )

    def _leave(self) -> None:
        """Remove the files that `claim` made, if the run wrote nothing else."""
        if {file.name for file in self.path.iterdir()} <= {"lock", "config.yaml"}:
            (self.path / "config.yaml").unlink(missing_ok=True)


def _is_result(value: Any) -> bool:
    """Whether it holds both accuracies, in %."""
    return isinstance(value, Mapping) and all(
        isinstance(value.get(key), int | float) and 0 <= value[key] <= 100
        for key in ("top1", "top5")
    )


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(flatten(modernize({k: v for k, v in config.items() if k != MADE_FROM})))
    if found.get(WEIGHTS):  # the folder of the file belongs to the machine
        found[WEIGHTS] = Path(found[WEIGHTS]).name
    return {
        key: value
        for key, value in found.items()
        if key not in MACHINE_OPTIONS and (key, value) not in ADDED_OPTIONS.items()
    }


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of each leaf of nested mappings; a list is a leaf."""
    if not isinstance(tree, Mapping):
        yield prefix, tree
        return
    for key, value in tree.items():
        yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))


def _remove_if_empty(path: Path) -> None:
    with suppress(OSError):
        os.removedirs(path)
