"""Old names of classes and options, and their names of today.

Stored configurations are read through these tables: a run does not depend on the file or the name
of a class, so moving or renaming a class leaves every finished run finished. The command line
still takes the old names of options.
"""

from collections.abc import Mapping
from typing import Any

CLASSES = {
    "engine.augment.CropFlip": "engine.transforms.CropFlip",
    "engine.augment.Keep": "engine.transforms.Identity",
    "engine.cifar.CIFAR": "engine.datasets.CIFAR",
    "engine.crop.ResizedCrop": "engine.transforms.ResizedCrop",
    "engine.digits.Digits": "engine.datasets.Digits",
    "engine.folder.Folder": "engine.datasets.Folder",
    "engine.imagenet.ImageNet": "engine.datasets.ImageNet",
    "engine.recipe.Recipe": "engine.training.Recipe",
    "engine.schedule.Cosine": "engine.training.Cosine",
    "engine.schedule.Exponential": "engine.training.Exponential",
    "engine.schedule.OneCycle": "engine.training.OneCycle",
    "engine.schedule.Step": "engine.training.Step",
    "attn.FusedTail": "attn.FusedEpilogue",
}
OPTIONS = {"tail": "epilogue"}  # wherever the name stands
DOTTED = {"data.path": "data.root"}  # the whole option


def class_name(name: str) -> str:
    """The name of today of a class; a name that was never changed stays."""
    return CLASSES.get(name, name)


def option(key: str) -> str:
    """The name of today of a dotted option: `tail.devices` becomes `epilogue.devices`."""
    key = DOTTED.get(key, key)
    return ".".join(OPTIONS.get(part, part) for part in key.split("."))


def modernize(tree: Any, prefix: str = "") -> Any:
    """A stored configuration with today's names, as a new tree; it lies below `prefix`."""
    if isinstance(tree, list):
        return [modernize(item, prefix) for item in tree]
    if not isinstance(tree, Mapping):
        return tree
    found = {}
    for key, value in tree.items():
        new = option(f"{prefix}{key}")
        name = new.rpartition(".")[2]
        is_class = key == "_target_" and isinstance(value, str)
        found[name] = class_name(value) if is_class else modernize(value, f"{new}.")
    return found
