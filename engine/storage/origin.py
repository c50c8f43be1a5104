"""The origin of a run: its images, its classes, its pretrained weights, known by their digests.

Where the images and the weights lie belongs to the machine. What they are belongs to the run: a
finished run is skipped, and an interrupted one goes on, only with the same images and weights.
This file imports no torch.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, ResourceError
from engine.storage.atomic import read_json, write_json

SPLITS = ("train", "val", "test")  # the folders of a data set
ARCHIVES = "cifar-*"  # an archive of CIFAR, or its folder
KNOWN = ".origins.json"  # below `out`: the origins that this machine has computed
MOST = 50  # origins in KNOWN
SHOWN = 3  # class names in a message


@dataclass(frozen=True)
class Origin:
    """`images` of each split, the names of the `classes` by label, and the digests (SHA-256).

    `data` is the digest of all splits; `weights` that of the file with the pretrained weights, or
    None without a file.
    """

    images: Mapping[str, int]
    classes: tuple[str, ...]
    data: str
    weights: str | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Origin":
        """The origin in a stored configuration; ConfigError if it has another form."""
        try:
            found = cls(**{**stored, "classes": tuple(stored["classes"])})
        except (TypeError, KeyError) as error:
            raise ConfigError("made_from is damaged: restore config.yaml, or remove it") from error
        return found

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"images": dict(self.images), "classes": list(self.classes)}

    def differences(self, now: "Origin") -> list[str]:
        """What `now` has changed, in words; empty if both are the same work."""
        found = [
            f"{split}: {count:,} -> {now.images.get(split, 0):,} images"
            for split, count in self.images.items()
            if count != now.images.get(split)
        ]
        found += _renamed(self.classes, now.classes)
        if self.data != now.data and not found:
            found = ["other images with the same counts and classes"]
        if self.weights != now.weights:
            found.append("other pretrained weights (model.weights)")
        return found


def _renamed(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    if before == after:
        return []
    gone, new = sorted({*before} - {*after}), sorted({*after} - {*before})
    if not gone and not new:
        return ["the classes in another order"]
    parts = [("classes gone", gone), ("new classes", new)]
    return [f"{what}: {_names(names)}" for what, names in parts if names]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def known_origin(
    out: Path, data: Mapping[str, Any], weights: str | None, compute: Callable[[], Origin]
) -> Origin:
    """The origin of the data set with the options `data` and of the file `weights`.

    `compute` reads the data only if a name, a size or a time of the files has changed since the
    last time; the answers are kept in the folder `out`.
    """
    key = _stamp(data, weights)
    kept = _kept(out)
    if key in kept:
        with suppress(ConfigError):
            return Origin.of(kept[key])
    origin = compute()
    with suppress(OSError, ResourceError):  # a folder that cannot be written to: computed again
        out.mkdir(parents=True, exist_ok=True)
        newest = dict([*kept.items(), (_stamp(data, weights), origin.as_dict())][-MOST:])
        write_json(out / KNOWN, newest)
    return origin


def is_here(data: Mapping[str, Any]) -> bool:
    """Whether a data set has files at its `root`; true for a data set without a `root`."""
    root = data.get("root")
    return root is None or next(_files(Path(root).expanduser()), None) is not None


def _kept(out: Path) -> dict[str, Any]:
    try:
        kept = read_json(out / KNOWN)
    except ConfigError:
        return {}
    return kept if isinstance(kept, dict) else {}


def digest_of_file(path: Path) -> str | None:
    """SHA-256 of a file; None if there is no file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(data: Mapping[str, Any], weights: str | None) -> str:
    """A hash of the options and of the names, sizes and times of all files, without reading one."""
    found = hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode())
    for path in (data.get("root"), weights):
        for name, status in _files(Path(path).expanduser()) if path else ():
            found.update(b"%b\0%d %d\n" % (os.fsencode(name), status.st_size, status.st_mtime_ns))
    return found.hexdigest()


def _files(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    """(path, status) of a file, or of each file of a data set below a folder."""
    parts = [place / split for split in SPLITS if (place / split).is_dir()]
    parts += sorted(place.glob(ARCHIVES))
    for part in parts or [place]:
        if part.is_file():
            yield str(part), part.stat()
            continue
        for folder in (part, *sorted(part.glob("*/"))):  # class folders hold no folders
            with suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.is_file():
                        yield entry.path, entry.stat()
