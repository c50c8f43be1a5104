"""The keys of a state_dict, translated between networks that hold the same attention differently.

A network with slots names attention `layer1.0.branch`, `attach` names it
`layer1.0.attention_branch`, and `bake` puts it beside a layer. Attention is matched by its site and
by its order in the network, everything else by its name.
"""

from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn

from attn.surgery.bake import LAYER, LayerWithAttention
from attn.surgery.gain import Gain


def rename_keys(
    state: Mapping[str, Tensor], source: nn.Module, target: nn.Module
) -> dict[str, Tensor]:
    """`state`, a state_dict of `source`, under the names that `target` has for the same tensors.

    Both networks may be built on the device "meta"; only their names count. ValueError if a key is
    none of `source`, or has no counterpart in `target`.
    """
    neutral = {key: name for key, name in _neutral_names(source).items() if key in state}
    if unknown := sorted(set(state) - set(neutral)):
        raise ValueError(f"{unknown[0]} is no key of the source, a {type(source).__name__}")
    there = {name: key for key, name in _neutral_names(target).items()}
    if missing := [key for key, name in neutral.items() if name not in there]:
        raise ValueError(f"{missing[0]} has no counterpart in the target, {type(target).__name__}")
    return {there[name]: state[key] for key, name in neutral.items()}


def _neutral_names(model: nn.Module) -> dict[str, str]:
    """{key of the state_dict: a name that does not depend on how the attention is held}."""
    prefixes: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for name, module in model.named_modules():
        if site := getattr(module, "attention_site", None):
            inner = f"{name}.attention" if isinstance(module, Gain) else name
            prefixes[f"{inner}."] = f"attention {site} {seen[site]}."
            seen[site] += 1
    layers = [n for n, module in model.named_modules() if isinstance(module, LayerWithAttention)]
    wrapped = {f"{name}.{LAYER}." if name else f"{LAYER}.": name for name in layers}
    return {key: _neutral_name(key, prefixes, wrapped) for key in model.state_dict()}


def _neutral_name(key: str, prefixes: Mapping[str, str], wrapped: Mapping[str, str]) -> str:
    for prefix, neutral in prefixes.items():
        if key.startswith(prefix):
            return neutral + key.removeprefix(prefix)
    for prefix in sorted(wrapped, key=len, reverse=True):
        if key.startswith(prefix):
            name = wrapped[prefix]
            key = (f"{name}." if name else "") + key.removeprefix(prefix)
    return key
