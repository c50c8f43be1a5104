"""`bake` makes the attention that `attach` hooked into a network a part of the network's layers.

The copy is made of plain modules, so whatever reads modules or traces calls sees the attention:
torch.fx, torch.jit.script, quantization, pruning, export, SyncBatchNorm, nn.DataParallel. A layer
with attention becomes an nn.Sequential of the layer, named `layer`, and the attention, named as
before: `layer1.0.bn2.weight` is then `layer1.0.bn2.layer.weight`. `attn.rename_keys` translates.

torch.ao.quantization fuses layers by their names: `["layer1.0.conv2", "layer1.0.bn2.layer"]`. The
method `fuse_model` of torchvision's quantizable networks knows the names without attention only:
call `fuse_model` first, then `attach`, then `bake`.
"""

import copy
import inspect
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from attn.surgery.attach import HOSTS, detach, lost_site
from attn.surgery.blocks import PREFIX
from attn.surgery.sites import After, Before, PlainShortcut

LAYER = "layer"  # the name of a layer beside its attention


class LayerWithAttention(nn.Sequential):
    """A layer of the network under the name `layer`, before or after it attention."""


class BlockWithAttention(LayerWithAttention):
    """The same for a block whose forward takes more than the map, as a block of DLA does."""

    def forward(self, *args: Any) -> Tensor:
        first, *rest = self
        x = first(*args)
        for module in rest:
            x = module(x)
        return x


def bake(model: nn.Module) -> nn.Module:
    """A copy of `model` with its attention as layers and without hooks; equal numbers.

    `model` itself stays as it is. A network without hooks of `attach` is merely copied. Raises
    RuntimeError if a layer with attention was replaced.
    """
    owners = [module for module in model.modules() if HOSTS in vars(module)]
    if site := next(filter(None, map(lost_site, owners)), None):
        raise RuntimeError(f"the layer with the attention at {site} was replaced after attach")
    baked = copy.deepcopy(model)
    layers = {host: _layers(host) for host in baked.modules()}
    names = [n for n, host in baked.named_modules(remove_duplicate=False) if layers[host]]
    hosts = {name: baked.get_submodule(name) for name in names}
    detach(baked)
    for name in sorted(filter(None, names), key=lambda name: -name.count(".")):  # inner hosts first
        parent, _, last = name.rpartition(".")
        setattr(baked.get_submodule(parent), last, _kind(hosts[name])(layers[hosts[name]]))
    return LayerWithAttention(layers[baked]) if "" in names else baked


def _kind(host: nn.Module) -> type[LayerWithAttention]:
    """torch.jit.script does not know `*args`, so most layers are a plain nn.Sequential."""
    takes = inspect.signature(host.forward).parameters
    return LayerWithAttention if len(takes) == 1 else BlockWithAttention


def _layers(host: nn.Module) -> OrderedDict[str, nn.Module]:
    """The host and its attention in the order in which they run; empty without attention."""
    before = [hook.function for hook in host._forward_pre_hooks.values() if type(hook) is Before]
    after = [hook.function for hook in host._forward_hooks.values() if type(hook) is After]
    layers = OrderedDict((PREFIX + module.attention_site, module) for module in before)
    if not isinstance(host, PlainShortcut) and (before or after):
        layers[LAYER] = host
    return layers | OrderedDict((PREFIX + module.attention_site, module) for module in after)
