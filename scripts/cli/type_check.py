"""Types of values, held against the annotations of the constructors they go to."""

import importlib
import inspect
from collections.abc import Collection, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from engine.errors import ConfigError

LARGEST = 1.7e308  # a float holds no more; an int may
WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    NoneType: "null",
}


def check_values(config: Mapping[str, Any], path: str = "") -> None:
    """Raise ConfigError for the first value of a resolved configuration that has the wrong type."""
    for where, value, annotation in _values(config, path):
        if not fits(value, annotation):
            raise ConfigError(f"{where}={value}: expected {describe(annotation)}")


def check_options(options: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first of a script's own options that is not of its kind."""
    for name, kind in kinds.items():
        if not fits(options.get(name), kind):
            raise ConfigError(f"{name}={options.get(name)}: expected {describe(kind)}")


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value from YAML can be what the annotation says; NaN, infinity and "" never are."""
    if annotation in (inspect.Parameter.empty, Any):
        return True
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return any(fits(value, choice) for choice in get_args(annotation))
    if origin is Literal:
        return value in get_args(annotation)
    if annotation in WORDS:
        return _is(value, annotation)
    if _is_collection(annotation):
        items = [item for item in get_args(annotation) if item is not ...]
        return isinstance(value, list) and all(any(fits(v, i) for i in items) for v in value)
    if origin is Mapping:
        of = get_args(annotation)[1]
        return isinstance(value, Mapping) and all(fits(v, of) for v in value.values())
    return isinstance(value, Mapping)  # an object: a node with a _target_


def describe(annotation: Any) -> str:
    """The annotation in words."""
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(dict.fromkeys(describe(choice) for choice in get_args(annotation)))
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    if _is_collection(annotation):
        items = dict.fromkeys(describe(i) for i in get_args(annotation) if i is not ...)
        return f"a list [...], each {' or '.join(items)}"
    if get_origin(annotation) is Mapping:
        return f"a mapping {{...: {describe(get_args(annotation)[1])}}}"
    return WORDS.get(annotation, "a group of options with a _target_")


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool) and kind is not bool:
        return False
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= LARGEST
    if kind is int:
        return isinstance(value, int) and abs(value) < 2**63
    return isinstance(value, kind) and value != ""


def _is_collection(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if not isinstance(origin, type) or issubclass(origin, Mapping):
        return False
    return issubclass(origin, Collection)


def _values(config: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    """(key, value, annotation) of every option of every object in the configuration."""
    signature = _signature(config["_target_"]) if "_target_" in config else {}
    for key, value in config.items():
        where = f"{path}.{key}" if path else key
        if key in signature:
            yield where, value, signature[key].annotation
        if isinstance(value, Mapping):
            yield from _values(value, where)


def _signature(target: str) -> Mapping[str, inspect.Parameter]:
    module, _, name = target.rpartition(".")
    return inspect.signature(getattr(importlib.import_module(module), name)).parameters
