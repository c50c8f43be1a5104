"""Where in a network the map of a site is: the layer to hook, its channels, its size.

Why hooks: a layer that is wrapped has other keys, and a `forward` of our own for each class of
block would depend on the versions of two libraries. A hook is an object of a class of this file, so
the hook follows the network through deepcopy, pickle, torch.compile, torch.export and
torch.jit.trace. Nothing here changes the network, except the hook that a point sets.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise, takewhile

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from attn.surgery.blocks import OUTSIDE, Block, Place, by_container, join


class PlainShortcut(nn.Identity):
    """The shortcut of a block that has no module for it, so that there is one to hook."""


@dataclass(frozen=True)
class Point:
    """A place in a network: what `host` returns, or (`before`) what it gets."""

    block: Block
    host: nn.Module
    place: str
    channels: int
    before: bool = False

    def hook(self, function: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """`function` gets the map, and the network goes on with what `function` returns."""
        if self.before:
            return self.host.register_forward_pre_hook(Before(function))
        return self.host.register_forward_hook(After(function))

    def inside_network(self) -> "Point":
        """Itself, or the end of the block, of the same size, until its host is inserted."""
        plain = isinstance(self.host, PlainShortcut)
        return replace(self, host=self.block.module) if plain else self


class Hook:
    """A hook of `attach`."""

    @property
    def __name__(self) -> str:
        """torch.jit.script asks each hook for its name, and nobody else needs the name."""
        raise AttributeError(
            "torch.jit.script cannot compile the hooks of attn.attach: script attn.bake(model)"
        )


class FunctionHook(Hook):
    """A hook that calls `function`, which is attention or notes the size of a map."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function


class Before(FunctionHook):
    """The function's result is the input of the host."""

    def __call__(self, host: nn.Module, args: tuple) -> Tensor:
        return self.function(*args)


class After(FunctionHook):
    """The function's result is the output of the host."""

    def __call__(self, host: nn.Module, args: tuple, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"attention takes one map, and {type(host).__name__} returns a "
                f"{type(output).__name__}: choose another site, or name a layer that returns a "
                'map, as in attach(..., blocks={MyBlock: {"branch": "bn2"}})'
            )
        return self.function(output)


def choose(
    model: nn.Module, blocks: Sequence[Block], site: str, stages: Collection[int] | None
) -> list[Block]:
    """Those of the network's `blocks` that have the site, in these stages."""
    numbers = sorted({block.stage for block in blocks})
    if unknown := sorted(set(stages or ()) - set(numbers)):
        raise ValueError(f"stages has {unknown}: {type(model).__name__} has stages {numbers}")
    if site == "stage":
        chosen = [block for block, after in pairwise(blocks) if block.stage != after.stage]
    elif site == "head":
        chosen = [block for block in blocks if not _is_auxiliary(model, block, blocks[0])][-1:]
    else:
        chosen = [block for block in blocks if block.kind.sites]
    chosen = [block for block in chosen if stages is None or block.stage in stages]
    if not chosen:
        raise ValueError(_no_site(model, blocks, site, numbers if stages is None else list(stages)))
    if site == "stage" and blocks[0].kind.stages is by_container:
        _check_ends(model, blocks, chosen)
    return chosen


def _no_site(model: nn.Module, blocks: Sequence[Block], site: str, stages: Sequence[int]) -> str:
    name = type(model).__name__
    if site in ("stage", "head") or any(block.kind.sites for block in blocks):
        return f"{name} has no {site} in stages {stages}: choose others"
    return (
        f"{name} has no {site}, because it has no blocks: choose stage or head, or name the layers "
        'that attention follows, as in blocks={nn.Conv2d: {"branch": "."}}'
    )


def _check_ends(model: nn.Module, blocks: Sequence[Block], ends: Sequence[Block]) -> None:
    """ValueError if a stage has several containers, which may run side by side, as in an HRNet."""
    for end in ends:
        there = sorted({block.container for block in blocks if block.stage == end.stage})
        if len(there) > 1:
            raise ValueError(
                f"{type(model).__name__} holds the blocks of stage {end.stage} in {there[0]}, ..., "
                f"{there[-1]}, and attach cannot tell where the stage ends: choose another site, "
                'or name what ends a stage, as in blocks={MyStage: {"branch": "last_conv"}}'
            )


def locate(model: nn.Module, block: Block, site: str) -> Point:
    """The site of this block, or a refusal."""
    if site == "post":
        return Point(block, block.module, f"after {block.name}", _width(block))
    if site == "head" and (later := _later(model, block)):
        return Point(block, later[1], f"after {later[0]}", _channels(later[1], before=False))
    if site in OUTSIDE:
        return _end(model, block)
    if site not in block.kind.sites:
        raise ValueError(f"{block.name} ({block.kind.name}) has no {site}: it has {block.sites()}")
    path, before = _read(block.kind.sites[site], block.module)
    place = f"{'before' if before else 'after'} {join(block.name, path)}"
    if site == "identity" and path == block.kind.shortcut and getattr(block.module, path) is None:
        return Point(block, PlainShortcut(), place, _width(block))
    host = _layer(block, path)
    channels = _channels_at(block, path, before) if site == "inner" else _width(block)
    return Point(block, host, place, channels, before)


def _end(model: nn.Module, block: Block) -> Point:
    """Where the map is that the last block of a stage hands on."""
    kind = block.kind
    side, _, whose = kind.end.partition(" ")
    name = block.container if whose == "container" else block.name
    channels = _sum(block, kind.joined) if kind.joined else _width(block)
    return Point(block, model.get_submodule(name), f"{side} {name}", channels, side == "before")


def _read(place: Place, block: nn.Module) -> tuple[str, bool]:
    """("bn3", False) from "bn3", ("conv3", True) from "before conv3"."""
    *before, path = (place(block) if callable(place) else place).split()
    if before not in ([], ["before"]):
        raise ValueError(f'a place is "bn2" or "before conv2", not "{place}"')
    return path.removeprefix("."), before == ["before"]


def _layer(block: Block, path: str) -> nn.Module:
    try:
        return block.module.get_submodule(path)
    except AttributeError as error:
        raise ValueError(f"{block.name} ({block.kind.name}) has no layer {path} to hook") from error


def _width(block: Block) -> int:
    width = block.kind.width
    return width if isinstance(width, int) else _sum(block, width)


def _sum(block: Block, places: Place) -> int:
    """The channels of a map, or of several that are concatenated: "branch1 + branch2"."""
    text = places(block.module) if callable(places) else places
    return sum(_channels_at(block, *_read(place, block.module)) for place in text.split(" + "))


def _channels_at(block: Block, path: str, before: bool) -> int:
    """An identity, as the fusion of layers leaves, has the channels of the layer before it."""
    layer = _layer(block, path)
    if layer is block.module and not isinstance(getattr(layer, "weight", None), Tensor):
        raise ValueError(_no_channels(layer))  # the last weight in a block may be of one branch
    if type(layer) is nn.Identity and not before:
        modules = [module for _, module in block.module.named_modules()][1:]
        earlier = modules[: modules.index(layer)]
        layer = next((m for m in reversed(earlier) if _weighted_layers(m)), layer)
    return _channels(layer, before)


def _channels(layer: nn.Module, before: bool) -> int:
    """Of the map that `layer` returns, by its last weight, or that it gets, by its first."""
    layers = _weighted_layers(layer)
    if not layers:
        raise ValueError(_no_channels(layer))
    first, last = layers[0], layers[-1]
    if before:
        return getattr(first, "in_channels", len(first.weight))
    return getattr(last, "out_channels", len(last.weight))


def _no_channels(layer: nn.Module) -> str:
    return f"{layer} does not tell its channels: name a convolution or a norm"


def _weighted_layers(layer: nn.Module) -> list[nn.Module]:
    return [m for m in layer.modules() if isinstance(getattr(m, "weight", None), Tensor)]


def _is_auxiliary(model: nn.Module, block: Block, first: Block) -> bool:
    """Whether a classifier, whose child is a Linear, holds the block and not the first block."""
    path = block.container
    while path and not first.name.startswith(f"{path}."):
        if any(isinstance(child, nn.Linear) for child in model.get_submodule(path).children()):
            return True
        path = path.rpartition(".")[0]
    return False


def _later(model: nn.Module, block: Block) -> tuple[str, nn.Module] | None:
    """The last layer with weights in the backbone, after the last block and before what pools.

    None if nothing follows the block. What a segmentation network or a detector has after its
    backbone does not count.
    """
    backbone = _backbone(model, block)
    found, path = None, block.name
    while path != backbone:
        path, _, last = path.rpartition(".")
        siblings = list(model.get_submodule(path).named_children())
        names = [sibling for sibling, _ in siblings]
        for sibling, layer in siblings[names.index(last) + 1 :]:
            if any("Pool" in type(m).__name__ or isinstance(m, nn.Linear) for m in layer.modules()):
                return found
            is_called = not isinstance(layer, nn.ModuleList | nn.ModuleDict)
            if is_called and next(layer.parameters(), None) is not None:
                found = join(path, sibling), layer
    return found


def _backbone(model: nn.Module, last: Block) -> str:
    """The name of the smallest module with the first convolution and the last block.

    It is no nn.Sequential: a network may call its blocks `features` and have one more convolution.
    """
    convolutions = (name for name, m in model.named_modules() if isinstance(m, nn.Conv2d))
    first = next(convolutions, "")  # none: the network
    pairs = zip(first.split("."), last.container.split("."), strict=False)
    path = [name for name, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    while path and isinstance(model.get_submodule(".".join(path)), nn.Sequential):
        path.pop()
    return ".".join(path)


def sizes(
    model: nn.Module, points: Sequence[Point], image_size: int | tuple[int, int]
) -> list[tuple[int, int]]:
    """The (H, W) at each point, by a forward pass that computes nothing and changes nothing."""
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    tensors = chain(model.named_parameters(), model.named_buffers())
    meta = {name: tensor.to("meta") for name, tensor in tensors}
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    images = torch.empty(2, first.in_channels, *size, dtype=first.weight.dtype, device="meta")
    seen: dict[int, tuple[int, int]] = {}

    def note(index: int, x: Tensor) -> Tensor:
        seen[index] = tuple(x.shape[2:])
        return x

    there = [point.inside_network() for point in points]
    handles = [point.hook(partial(note, index)) for index, point in enumerate(there)]
    try:
        with torch.no_grad():
            functional_call(model, meta, (images,))
    except Exception as error:  # of the forward pass of anybody's network
        raise ValueError(_no_sizes(model, images)) from error
    finally:
        for handle in handles:
            handle.remove()
    if len(seen) < len(points):
        raise ValueError(_no_sizes(model, images))
    return [seen[index] for index in range(len(points))]


def _no_sizes(model: nn.Module, images: Tensor) -> str:
    return (
        f"image_size={tuple(images.shape[2:])}: {type(model).__name__} does not run all its "
        f"blocks on images of shape {tuple(images.shape)}. A detector resizes its images: call "
        "attach(model.backbone, ..., image_size=...) with the size that its backbone gets"
    )
