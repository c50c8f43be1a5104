"""`attach` puts attention into a torchvision or timm network, or one's own, and keeps its weights.

    model = torchvision.models.resnet50(weights="DEFAULT")
    print(attach(model, NAM))

A module becomes a child of its block, `layer1.0.attention_branch`, so that every key of the network
keeps its name. A forward hook at the site calls the module. The module is no child of the hooked
layer, because many scripts freeze every BatchNorm with everything in it.

A hook can be lost, for example if a layer is replaced by a SyncBatchNorm, and torch.fx,
torch.jit.script and nn.DataParallel do not follow hooks. A network must not lose its attention
silently, so each block looks for its hooks before it runs, and raises a RuntimeError if a hook is
lost or is not followed. `attn.bake` makes a copy without hooks.
"""

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import torch
from torch import nn
from torch.fx import Proxy

from attn.surgery.blocks import PREFIX, SITES, Block, Blocks, find, join
from attn.surgery.gain import with_gain
from attn.surgery.sites import FunctionHook, Hook, PlainShortcut, Point, choose, locate, sizes

HOSTS = "attention_hosts"  # {site: (path, host, attention)} that the guard of a module watches


@dataclass(frozen=True)
class AttachedModule:
    """One module that `attach` inserted: its name in the network, and where it is called."""

    name: str
    place: str
    stage: int
    channels: int
    params: int


@dataclass(frozen=True)
class Report:
    """What `attach` did: `len` counts the modules, `print` shows a table by stage and width."""

    attention: str
    site: str
    rows: tuple[AttachedModule, ...]

    @property
    def params(self) -> int:
        return sum(row.params for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        lines = [
            f"{self.attention} at {self.site}: {len(self)} modules, {self.params:,} parameters",
            "stage  channels  modules      params  place",
        ]
        for (stage, channels), run in groupby(self.rows, lambda row: (row.stage, row.channels)):
            rows = list(run)
            params = sum(row.params for row in rows)
            to = f" ... {rows[-1].place.split()[-1]}" if len(rows) > 1 else ""
            lines.append(
                f"{stage:5}  {channels:8}  {len(rows):7}  {params:10,}  {rows[0].place}{to}"
            )
        return "\n".join(lines)


def attach(
    model: nn.Module,
    module_factory: Callable[..., nn.Module],
    site: str = "branch",
    stages: Collection[int] | None = None,
    image_size: int | tuple[int, int] | None = None,
    blocks: Blocks | None = None,
    gain: float = 1.0,
) -> Report:
    """Insert `module_factory(channels)` at every `site` of `model`; `detach` undoes the insertion.

    The sites of a residual block are `inner` after the middle convolution, `branch` at the end of
    the residual branch, before stochastic depth, `identity` on the shortcut, `post` after the sum;
    those of a network `stage` between two stages, `head` at the last map of the backbone. `stages`,
    from 1, chooses some. MobileNets and EfficientNets do not name theirs: the smallest maps are
    stage 4, each size above a stage less, and nothing is below 1. A block that concatenates its
    branches, as in GoogLeNet, has its `branch` at its end. VGG has no blocks: `stage` and `head`
    are before its pooling layers.

    A factory with a parameter `stage` or `size` is told the stage and, if `image_size` is given,
    the (H, W) of the map. The modules have the device and type of their block and the mode of
    `model`; the global random state stays as it was. Convert to SyncBatchNorm before `attach`, and
    compile or wrap for DDP after it. `gain` multiplies what each module returns: 2 undoes a gate
    that starts at a half.

    Blocks of your own: `blocks={MyBlock: {"branch": "bn2", "inner": "before conv2"}}` names the
    layer whose output, or input, is the map, and "." a block that is a layer itself; `post`,
    `stage` and `head` need no naming, and a stage is what lies in one container.
    """
    _check_arguments(module_factory, site)
    chosen = choose(model, find(model, blocks), site, stages)
    _check_free(chosen, site)
    points = [locate(model, block, site) for block in chosen]
    plain = _build(model, module_factory, points, image_size)
    modules = [with_gain(module, gain) for module in plain]
    for point, module in zip(points, modules, strict=True):
        _insert(model, module, site, point)
    rows = [_row(module, site, point) for point, module in zip(points, modules, strict=True)]
    return Report(type(plain[0]).__name__, site, tuple(rows))


def detach(model: nn.Module) -> int:
    """Take out all that `attach` put into `model`; returns the number of modules."""
    removed = 0
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [k for k, hook in hooks.items() if isinstance(hook, Hook)]:
                del hooks[key]
    for block in [
        module for module in model.modules() if vars(module).pop(HOSTS, None) is not None
    ]:
        for name, child in list(block.named_children()):
            if name in map(_child, SITES):
                delattr(block, name)
                removed += 1
            elif isinstance(child, PlainShortcut):
                delattr(block, name)
                setattr(block, name, None)
    return removed


def _check_arguments(factory: Callable[..., nn.Module], site: str) -> None:
    if site not in SITES:
        raise ValueError(f"site={site}: choose from {', '.join(SITES)}")
    if isinstance(factory, str):
        raise TypeError(
            f"attach takes a class, such as attn.NAM, not the name {factory!r}; "
            f"attn.names()[{factory!r}].factory() is the class of a name"
        )
    if isinstance(factory, nn.Module) or not callable(factory):
        raise TypeError("module_factory must build a module: pass attn.NAM, not attn.NAM(64)")


def _check_free(blocks: Sequence[Block], site: str) -> None:
    for block in blocks:
        if _child(site) in block.module._modules:
            raise ValueError(f"{block.name} has attention at {site}: call detach(model) first")


def _build(
    model: nn.Module,
    factory: Callable[..., nn.Module],
    points: Sequence[Point],
    image_size: int | tuple[int, int] | None,
) -> list[nn.Module]:
    """All modules before the first is inserted, so that a factory's refusal changes nothing."""
    asked = inspect.signature(factory).parameters
    facts = {}
    if "stage" in asked:
        facts["stage"] = [point.block.stage for point in points]
    if "size" in asked and image_size is not None:
        facts["size"] = sizes(model, points, image_size)
    elif "size" in asked and asked["size"].default is inspect.Parameter.empty:
        raise ValueError("module_factory asks for the size of its map: say attach(image_size=...)")
    modules = []
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(int(torch.randint(2**62, ())))
        for index, point in enumerate(points):
            told = {name: values[index] for name, values in facts.items()}
            tensors = chain(point.block.module.parameters(), model.parameters())
            near = next(tensor for tensor in tensors if tensor.is_floating_point())
            module = factory(point.channels, **told).to(near.device, near.dtype)
            modules.append(module.train(model.training))
    return modules


def _insert(model: nn.Module, module: nn.Module, site: str, point: Point) -> None:
    block = point.block.module
    if isinstance(point.host, PlainShortcut):
        setattr(block, point.block.kind.shortcut, point.host)
    block.add_module(_child(site), module)
    module.attention_site = site  # as in a network with slots, for who looks for attention
    point.hook(module)
    hooks = point.host._forward_hooks
    for key, hook in list(hooks.items()):  # a later site on the same host comes after
        if isinstance(hook, FunctionHook) and SITES.index(
            hook.function.attention_site
        ) > SITES.index(site):
            hooks.move_to_end(key)
    _watch(block)
    owner, path = _owner(model, point)
    _watch(owner)[site] = (path, point.host, module)


def _owner(model: nn.Module, point: Point) -> tuple[nn.Module, tuple[str, ...]]:
    """The module whose guard watches the host, and the host's path in it: the block, if it can."""
    for name, module in point.block.module.named_modules():
        if module is point.host:
            return point.block.module, tuple(name.split(".")) if name else ()
    name = next(name for name, module in model.named_modules() if module is point.host)
    parent, _, last = name.rpartition(".")
    return model.get_submodule(parent), (last,)


def _watch(owner: nn.Module) -> dict[str, tuple[tuple[str, ...], nn.Module, nn.Module]]:
    """What the guard of `owner` watches; `owner` has a guard from now on."""
    if HOSTS not in vars(owner):
        vars(owner)[HOSTS] = {}
        owner.register_forward_pre_hook(Guard())
    return vars(owner)[HOSTS]


class Guard(Hook):
    """Attention that silently does nothing would be a wrong result."""

    def __call__(self, owner: nn.Module, args: tuple) -> None:
        if any(isinstance(arg, Proxy) for arg in args):
            raise RuntimeError(
                "torch.fx does not follow the hooks of attn.attach: trace attn.bake(model)"
            )
        if hasattr(owner, "_is_replica"):
            raise RuntimeError(
                "nn.DataParallel does not follow the hooks of attn.attach: wrap attn.bake(model)"
            )
        if (site := lost_site(owner)) is not None:
            raise RuntimeError(
                f"the layer with the attention at {site} was replaced after attach: convert the "
                "network first (to SyncBatchNorm, or fuse its layers) and attach then, or bake "
                "before you convert"
            )


def lost_site(owner: nn.Module) -> str | None:
    """A site whose layer was replaced in `owner`, so that no hook calls the attention."""
    for site, (path, host, attention) in owner.attention_hosts.items():
        layer = owner
        for name in path:
            layer = layer._modules[name]
        if layer is not host and not _calls(owner, attention):
            return site
    return None


def _calls(owner: nn.Module, attention: nn.Module) -> bool:
    """Whether one hook still calls the attention: the fusion of torch.ao moves or copies hooks."""
    hooks = [
        hook
        for module in owner.modules()
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
        if isinstance(hook, FunctionHook)
    ]
    site = attention.attention_site
    calling = [
        hook.function for hook in hooks if getattr(hook.function, "attention_site", None) == site
    ]
    return len(calling) == 1 and calling[0] is attention


def _row(module: nn.Module, site: str, point: Point) -> AttachedModule:
    params = sum(parameter.numel() for parameter in module.parameters())
    name = join(point.block.name, _child(site))
    return AttachedModule(name, point.place, point.block.stage, point.channels, params)


def _child(site: str) -> str:
    return f"{PREFIX}{site}"
