"""Read the tensors of a file of weights, of a name of torchvision, or of a name of timm.

A file of a stranger runs no code: torch unpickles tensors and nothing else but
`argparse.Namespace`, the options that many training scripts store beside the weights.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

AVERAGES = ("model_ema", "state_dict_ema", "average")  # what their training scripts evaluate
CONTAINERS = (*AVERAGES, "state_dict", "model_state_dict", "model", "net")
NO_TENSORS = {  # the first bytes of a file -> what the file is
    b"<!doctype html": "an HTML page; download the file again",
    b"<html": "an HTML page; download the file again",
    b"version https://git-lfs": "a pointer of Git LFS; run git lfs pull",
}
TIMM = "timm/"


@dataclass(frozen=True)
class StoredWeights:
    """`tensors` by name; the `container` of the file that holds them; the names of all `others`.

    The container is "" if the tensors lie at the top of the file.
    """

    tensors: Mapping[str, Tensor]
    container: str = ""
    others: tuple[str, ...] = ()


def read_weights(weights: str) -> StoredWeights:
    """The tensors of a .safetensors or torch file, or of weights that torchvision or timm names.

    ValueError, in one line, if there are none.
    """
    path = Path(weights).expanduser()
    if path.is_dir():
        raise ValueError(f"weights={weights}: a folder; name the file")
    if path.exists():
        return _unpacked(weights, _read_file(weights, path))
    try:
        if weights.startswith(TIMM):
            return StoredWeights(_of_timm(weights))
        return StoredWeights(_of_torchvision(weights))
    except OSError as error:  # no network
        raise ValueError(f"weights={weights}: the download failed ({_first(error)})") from error


def _read_file(weights: str, path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
    if not head:
        raise ValueError(f"weights={weights}: the file is empty")
    for start, what in NO_TENSORS.items():
        if head.startswith(start):
            raise ValueError(f"weights={weights}: the file is {what}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"weights={weights}: no file of safetensors ({_first(error)})") from error
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise ValueError(f"weights={weights}: {_why_not_loaded(error)}") from error


def _why_not_loaded(error: Exception) -> str:
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"the file needs {found[1]}, which could run code and is not loaded; "
            "save the state_dict alone"
        )
    return f"torch finds no tensors in the file ({_first(error)})"


def _unpacked(weights: str, content: Any) -> StoredWeights:
    """The tensors of the first container that has any, or of the top of the file."""
    if not isinstance(content, Mapping):
        raise ValueError(
            f"weights={weights}: the file holds a {type(content).__name__}, no tensors"
        )
    held = [name for name in CONTAINERS if _tensors(content.get(name))]
    if held:
        others = [name for name in held[1:] if held[0] in AVERAGES or name in AVERAGES]
        return StoredWeights(_tensors(content[held[0]]), held[0], tuple(others))
    tensors = _tensors(content)
    if not tensors:
        raise ValueError(
            f"weights={weights}: the file holds no tensors by name, neither at its top nor in "
            f"{', '.join(CONTAINERS)}"
        )
    return StoredWeights(tensors, others=tuple(str(key) for key in content if key not in tensors))


def _tensors(tree: Any) -> dict[str, Tensor]:
    if not isinstance(tree, Mapping):
        return {}
    return {key: v for key, v in tree.items() if isinstance(key, str) and isinstance(v, Tensor)}


def _of_torchvision(name: str) -> Mapping[str, Tensor]:
    from torchvision.models import get_weight

    try:
        entry = get_weight(name)
    except (KeyError, ValueError, AttributeError) as error:
        raise ValueError(
            f"weights={name}: neither a file nor a name of torchvision's, such as "
            "ResNet50_Weights.IMAGENET1K_V2; a name of timm's begins with timm/"
        ) from error
    return entry.get_state_dict(progress=True, check_hash=True)


def _of_timm(name: str) -> Mapping[str, Tensor]:
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            f"weights={name}: timm is not installed; pip install timm, or download the weights and "
            "name the file"
        ) from error
    try:
        return timm.create_model(name.removeprefix(TIMM), pretrained=True).state_dict()
    except RuntimeError as error:
        raise ValueError(f"weights={name}: {_first(error)}") from error


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
