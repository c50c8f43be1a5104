"""Groups of layers, for fine-tuning: the backbone, the attention, the classifier, or any prefix."""

import difflib
from collections.abc import Iterable, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from engine.errors import ConfigError

GROUPS = ("backbone", "attention", "classifier")
ATTENTION_MARKS = ("attention_site", "attention_slot")  # set by models.Slots and attn.attach


class LayerGroups:
    """The group of each parameter and module of a network, by its name.

    Attention is whatever fills a site or a slot of the network. The classifier is the last linear
    layer that is no attention. All else is the backbone.
    """

    def __init__(self, model: nn.Module) -> None:
        named = list(model.named_modules(remove_duplicate=False))
        self.names = [*(name for name, _ in named), *(name for name, _ in model.named_parameters())]
        marked = [n for n, m in named if any(hasattr(m, mark) for mark in ATTENTION_MARKS)]
        linear = [n for n, m in named if isinstance(m, nn.Linear)]
        self.attention = marked
        self.classifier = [n for n in linear if not _below_any(n, marked)][-1:]

    def group(self, name: str) -> str:
        """One of GROUPS."""
        if _below_any(name, self.attention):
            return "attention"
        return "classifier" if _below_any(name, self.classifier) else "backbone"

    def holds(self, entry: str, name: str) -> bool:
        """Whether the parameter or module `name` belongs to `entry`, a group or a prefix."""
        return self.group(name) == entry if entry in GROUPS else _below(name, entry)

    def require(self, option: str, entries: Iterable[str]) -> None:
        """ConfigError if an entry is neither a group nor a prefix, or if its group is empty."""
        for entry in entries:
            if any(name and self.holds(entry, name) for name in self.names):
                continue
            if entry in GROUPS:
                raise ConfigError(f"{option}: {entry}: this network has no {entry}")
            near = difflib.get_close_matches(entry, [*GROUPS, *self.names], 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(GROUPS)}"
            raise ConfigError(f"{option}: this network has no {entry}; {hint}")


class FrozenLayers:
    """The layers of `model` that belong to `entries`: no training changes them.

    Their parameters have no gradient, and their batch norms normalize with the running statistics
    and keep them. ConfigError if an entry names no layer, or if nothing is left to train.
    """

    def __init__(self, model: nn.Module, entries: Iterable[str]) -> None:
        groups, entries = LayerGroups(model), list(entries)
        groups.require("recipe.freeze", entries)

        def frozen(name: str) -> bool:
            return any(groups.holds(entry, name) for entry in entries)

        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and not frozen(name))
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError("recipe.freeze: all layers are frozen; nothing is left to train")
        named = model.named_modules()
        self.norms = [m for name, m in named if isinstance(m, _BatchNorm) and frozen(name)]

    def hold(self) -> None:
        """Put the frozen batch norms into evaluation mode; to be called after `model.train()`."""
        for norm in self.norms:
            norm.eval()


def lr_scales(model: nn.Module, scales: Mapping[str, float]) -> dict[str, float]:
    """{name of a parameter: the factor of its learning rate}; the last entry that holds it counts.

    ConfigError if an entry names no layer.
    """
    groups = LayerGroups(model)
    groups.require("recipe.lr_scale", scales)
    found = {}
    for name, _ in model.named_parameters():
        own = [scale for entry, scale in scales.items() if groups.holds(entry, name)]
        found[name] = own[-1] if own else 1.0
    return found


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _below_any(name: str, prefixes: Iterable[str]) -> bool:
    return any(_below(name, prefix) for prefix in prefixes)
