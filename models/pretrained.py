"""Load weights from a file, or by a name of torchvision, into a network with slots."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


@dataclass(frozen=True)
class Loaded:
    """The keys that were loaded, the `new` keys with initial values, and the `unexpected` keys."""

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"weights: {len(self.loaded)} tensors loaded; "
            f"new: {_names(self.new)}; unexpected: {_names(self.unexpected)}; "
            f"of another shape, left as they were: {_names(self.other_shape)}"
        )


def load_pretrained(model: nn.Module, weights: str) -> Loaded:
    """Load what fits of `weights`: a path, or a name such as ResNet50_Weights.IMAGENET1K_V2.

    Attention is new to them, and a classifier for other classes has another shape. Raises
    ValueError if less than half of them fits: they are another network's. Runs no code of theirs.
    """
    there = {_bare(key): value for key, value in read_weights(weights).items()}
    here = model.state_dict()
    fitting = {k: v for k, v in there.items() if k in here and v.shape == here[k].shape}
    if len(fitting) * 2 < len(there):
        example = next(key for key in there if key not in fitting)
        raise ValueError(
            f"weights={weights}: only {len(fitting)} of its {len(there)} tensors fit this network; "
            f"{example} does not"
        )
    model.load_state_dict(fitting, strict=False)
    return Loaded(
        tuple(fitting),
        tuple(key for key in here if key not in there),
        tuple(key for key in there if key not in here),
        tuple(key for key in there if key in here and key not in fitting),
    )


def load_into(model: nn.Module, weights: str | None) -> None:
    """Load the weights that a network's option names, and print what was loaded."""
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    if weights is not None and not on_meta:  # a network that is only counted has no values
        print(load_pretrained(model, weights), file=sys.stderr)


def read_weights(weights: str) -> Mapping[str, Tensor]:
    """The tensors of a .safetensors or torch file, or of torchvision's weights of that name."""
    path = Path(weights).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        return load_file(path)
    if path.is_file():
        state = torch.load(path, map_location="cpu", weights_only=True)
        return next((state[key] for key in ("state_dict", "model") if key in state), state)
    return _of_torchvision(weights)


def _of_torchvision(name: str) -> Mapping[str, Tensor]:
    from torchvision.models import get_weight

    try:
        entry = get_weight(name)
    except (KeyError, ValueError, AttributeError) as error:
        raise ValueError(
            f"weights={name}: neither a file nor a name of torchvision's, such as "
            "ResNet50_Weights.IMAGENET1K_V2"
        ) from error
    return entry.get_state_dict(progress=True, check_hash=True)


def _bare(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _names(keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:3]) or "none"
    return shown + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
