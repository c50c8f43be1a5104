"""The names of a file's tensors, translated to the names of a network with slots.

Trainers put prefixes before the names, `attn.attach` calls attention `layer1.0.attention_branch`, a
gain puts `attention.` inside, and timm has names of its own for MobileNetV2.
"""

import re
from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor, nn

from models.slots import SITES, attention_names, below

# DataParallel, torch.compile, Lightning, and the tools of OpenMMLab
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
ATTACHED = re.compile(rf"((?:.*\.)?attention_({'|'.join(SITES)}))\.(.*)")
COUNTER = "num_batches_tracked"  # older files do not have it; a norm with momentum never reads it
BESIDE = ("n_averaged",)  # torch's AveragedModel counts its updates


def named_as_in(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` under the names of `model`; a name that nothing translates stays.

    ValueError if two tensors get one name.
    """
    of_mm = any(key.startswith("backbone.") for key in tensors)  # whose classifier is head.fc
    bare = {key: _bare(key.removeprefix("head.") if of_mm else key, model) for key in tensors}
    if len(set(bare.values())) < len(bare):
        name = next(name for name in bare.values() if list(bare.values()).count(name) > 1)
        both = " and ".join(key for key in bare if bare[key] == name)
        raise ValueError(f"it holds two networks: {both}")
    found = {bare[key]: value for key, value in tensors.items() if bare[key] not in BESIDE}
    found = _from_attached(model, _from_timm(model, found))
    here = model.state_dict()
    return {_through_gain(key, model, here): value for key, value in found.items()}


def _bare(key: str, model: nn.Module) -> str:
    first = key.partition(".")[0]
    if f"{first}." in PREFIXES and not hasattr(model, first):
        return _bare(key.removeprefix(f"{first}."), model)
    return key


def _from_attached(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Attention of `attach` under the names of slots: matched by its site and by its order."""
    there: dict[str, dict[str, None]] = defaultdict(dict)
    for key in tensors:
        if found := ATTACHED.fullmatch(key):
            there[found[2]].setdefault(found[1])
    here: dict[str, list[str]] = defaultdict(list)
    for name, module in model.named_modules(remove_duplicate=False):
        if site := getattr(module, "attention_site", None):
            here[site].append(name)
    renamed = {
        old: new
        for site, olds in there.items()
        if len(olds) == len(here[site])
        for old, new in zip(olds, here[site], strict=True)
    }

    def name(key: str) -> str:
        found = ATTACHED.fullmatch(key)
        return f"{renamed[found[1]]}.{found[3]}" if found and found[1] in renamed else key

    return {name(key): value for key, value in tensors.items()}


def _through_gain(key: str, model: nn.Module, here: Mapping[str, Tensor]) -> str:
    """The same attention with or without a gain, which holds it as `attention`."""
    for prefix in () if key in here else attention_names(model):
        if below(key, prefix):
            rest = key.removeprefix(f"{prefix}.")
            others = (f"{prefix}.attention.{rest}", f"{prefix}.{rest.removeprefix('attention.')}")
            return next((other for other in others if other in here), key)
    return key


def _from_timm(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's MobileNetV2 under torchvision's names: the same layers in the same order.

    timm's MobileNetV3 is another network: its batch norms have another ε. Its last shapes differ.
    """
    attention = attention_names(model)
    ours = {
        key: value
        for key, value in model.state_dict().items()
        if not any(below(key, name) for name in attention)
    }
    shapes = [[value.shape[1:] for value in of.values()] for of in (tensors, ours)]
    if "conv_stem.weight" not in tensors or shapes[0] != shapes[1]:
        return dict(tensors)
    return dict(zip(ours, tensors.values(), strict=True))
