"""Start a network with slots from weights that others, or earlier runs, have trained.

Attention is new to most files and keeps its initial values. Every other layer must be in the file:
a network that is half pretrained and half random trains, and nobody sees why its accuracy is low.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from models.foreign_names import ATTACHED, COUNTER, named_as_in
from models.image_channels import adapt_channels
from models.slots import attention_names, below
from models.weights_file import read_weights

PARTIAL = "model.weights_partial=true loads what fits"


@dataclass(frozen=True)
class Loaded:
    """The keys that were loaded, the `new` keys with initial values, and the `unexpected` keys.

    `source` is the container that held the tensors in their file; `notes` say what else happened.
    """

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: tuple[str, ...]
    source: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        of_source = f" of {self.source}" if self.source else ""
        parts = [
            f"{len(self.loaded)} tensors{of_source} loaded",
            f"new: {_names(self.new)}",
            f"unexpected: {_names(self.unexpected)}",
            f"of another shape, left as they were: {_names(self.other_shape)}",
        ]
        return f"weights: {'; '.join([*parts, *self.notes])}"


def load_pretrained(model: nn.Module, weights: str, partial: bool = False) -> Loaded:
    """Load `weights`: a path, a name such as ResNet50_Weights.IMAGENET1K_V2, or timm/NAME.

    ValueError if a layer that is no attention is not in the file, or the file has layers that the
    network has not: the weights are another network's. A classifier for another number of classes
    may be new. With `partial`, whatever fits is loaded. Runs no code of the file.
    """
    stored = read_weights(weights)
    try:
        there, adapted = adapt_channels(model, named_as_in(model, stored.tensors))
        match = _Match(model, there)
        match.require_some() if partial else match.require_all()
    except ValueError as error:
        raise ValueError(f"weights={weights}: {error}") from error
    model.load_state_dict(match.fitting, strict=False)
    beside = [f"also in the file, not read: {_names(stored.others)}"] if stored.others else []
    notes = [*match.notes(), *filter(None, [adapted]), *beside]
    return Loaded(
        tuple(match.fitting),
        tuple(match.new),
        tuple(match.unexpected),
        tuple(match.other_shape),
        stored.container,
        tuple(notes),
    )


def load_into(model: nn.Module, weights: str | None, partial: bool = False) -> None:
    """Load the weights that a network's option names, and print what was loaded."""
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    if weights is not None and not on_meta:  # a network that is only counted has no values
        print(load_pretrained(model, weights, partial), file=sys.stderr)


class _Match:
    """The tensors of a file, `there`, beside those of `model`, by the names of the model."""

    def __init__(self, model: nn.Module, there: Mapping[str, Tensor]) -> None:
        self.model = model
        self.there = there
        self.here = model.state_dict()
        self.attention = attention_names(model)
        self.new = [key for key in self.here if key not in there]
        self.unexpected = [key for key in there if key not in self.here]
        self.other_shape = [
            key for key in there if key in self.here and there[key].shape != self.here[key].shape
        ]
        left_out = {*self.unexpected, *self.other_shape}
        self.fitting = {key: value for key, value in there.items() if key not in left_out}

    def require_some(self) -> None:
        """ValueError if no tensor fits."""
        if not self.fitting:
            raise ValueError("none of its tensors fits this network")

    def require_all(self) -> None:
        """ValueError if the file is another network's; the message names the first reason."""
        shapes = [key for key in self.other_shape if self._is_plain(key)]
        shapes = [key for key in shapes if not self._has_other_classes(key)]
        if shapes:
            key, hint = shapes[0], self._stem_hint(shapes) or f"another network's file; {PARTIAL}"
            here, there = _shape(self.here[key]), _shape(self.there[key])
            raise ValueError(f"{key} is {there} in the file and {here} in this network; {hint}")
        reasons = {
            "layers of this network are not in the file": filter(self._is_needed, self.new),
            "layers of the file are not in this network": filter(self._is_strange, self.unexpected),
        }
        for reason, keys in reasons.items():
            if keys := list(keys):
                raise ValueError(f"{reason}: {_names(keys)}; another network's file; {PARTIAL}")

    def notes(self) -> Iterator[str]:
        """What the lists of names do not say."""
        key = f"{self.classifier}.weight"
        if key in self.other_shape and self._has_other_classes(key):
            counts = f"the file has {len(self.there[key])} classes, the data {len(self.here[key])}"
            yield f"the classifier starts anew: {counts}"

    @cached_property
    def classifier(self) -> str:
        """The name of the last linear layer that is no attention."""
        linear = [n for n, module in self.model.named_modules() if isinstance(module, nn.Linear)]
        return next((name for name in reversed(linear) if self._is_plain(name)), "")

    def _is_plain(self, key: str) -> bool:
        return not any(below(key, name) for name in self.attention)

    def _is_needed(self, key: str) -> bool:
        return self._is_plain(key) and not key.endswith(COUNTER)

    def _has_other_classes(self, key: str) -> bool:
        """Whether it is the classifier's, and differs in the number of classes alone."""
        of_classifier = key.rpartition(".")[0] == self.classifier
        return of_classifier and self.there[key].shape[1:] == self.here[key].shape[1:]

    def _is_strange(self, key: str) -> bool:
        """Whether a tensor that this network does not have is no attention of the file's network.

        Attention of the file lies at a place where this network has other attention, or none.
        """
        if ATTACHED.fullmatch(key) or not self._is_plain(key):
            return False
        for name, module in self.model.named_modules():
            if below(key, name) and hasattr(module, "vacant_slot"):
                return module.vacant_slot == "stage" and self._is_block(key, name)
        return True

    def _is_block(self, key: str, name: str) -> bool:
        """Whether `name`, a place between two stages, is a block in the network of the file.

        There is where a deeper network has its next block; a neighbour of it has the same layers.
        """
        parent, last = name.rpartition(".")[0], key.removeprefix(name)
        return any(below(other, parent) and other.endswith(last) for other in self.here)

    def _stem_hint(self, keys: Sequence[str]) -> str | None:
        """What to say if the first convolution alone is another one."""
        theirs, ours = self.there[keys[0]].shape, self.here[keys[0]].shape
        if len(keys) > 1 or len(ours) != 4 or theirs[:2] != ours[:2]:
            return None
        stem = "imagenet" if theirs[2] > ours[2] else "cifar"
        return f"the file has another stem: say data.stem={stem}"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def _names(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:3]) or "none"
    return shown + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
