"""`attach` puts attention into a torchvision or timm network, or one's own, and keeps its weights.

    model = torchvision.models.resnet50(weights="DEFAULT")
    print(attach(model, NAM))

A module becomes a child of its block, `layer1.0.attention_branch`, so that every key of the network
keeps its name; a forward hook at the site calls it. It is no child of the layer hooked, since many
a script freezes every BatchNorm with all that is in it.

Where another layer takes the place of the one hooked, as in the conversion to SyncBatchNorm, the
hook is lost, and the block says so when it runs. A graph of torch.fx computes the same but does not
list the parameters; torch.jit.script and nn.DataParallel do not follow hooks.
"""

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import torch
from torch import nn

from attn.surgery.blocks import PREFIX, SITES, Block, Blocks, find, join
from attn.surgery.sites import PlainShortcut, Point, choose, locate, sizes

HANDLES = "attention_handles"  # of a block: the handles of its hooks, by site
GUARD = "attention_guard"  # of a block: the handle of `_guard`


@dataclass(frozen=True)
class Row:
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
    rows: tuple[Row, ...]

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
) -> Report:
    """Insert `module_factory(channels)` at every `site` of `model`; `detach` undoes it.

    The sites of a residual block are `inner` after the middle convolution, `branch` at the end of
    the residual branch, before stochastic depth, `identity` on the shortcut, `post` after the sum;
    those of a network `stage` between two stages, `head` after the last convolution. `stages`, from
    1, chooses some. MobileNets and EfficientNets do not name theirs: the smallest maps are stage 4,
    each size above a stage less, and nothing is below 1.

    A factory with a parameter `stage` or `size` is told the stage and, if `image_size` is given,
    the (H, W) of the map. The modules have the device and type of their block and the mode of
    `model`; the global random state stays as it was. Convert to SyncBatchNorm before, and compile
    or wrap for DDP after.

    Blocks of your own: `blocks={MyBlock: {"branch": "bn2", "inner": "before conv2"}}` names the
    layer whose output, or input, is the map; `post`, `stage` and `head` need no naming, and a stage
    is what lies in one container.
    """
    if site not in SITES:
        raise ValueError(f"site={site}: choose from {', '.join(SITES)}")
    if isinstance(module_factory, nn.Module) or not callable(module_factory):
        raise TypeError("module_factory must build a module: pass attn.NAM, not attn.NAM(64)")
    chosen = choose(model, find(model, blocks), site, stages)
    _refuse_twice(chosen, site)
    points = [locate(model, block, site) for block in chosen]
    modules = _build(model, module_factory, points, image_size)
    for point, module in zip(points, modules, strict=True):
        _insert(module, site, point)
    rows = [_row(module, site, point) for point, module in zip(points, modules, strict=True)]
    return Report(type(modules[0]).__name__, site, tuple(rows))


def detach(model: nn.Module) -> int:
    """Take out all that `attach` put into `model`; returns the number of modules."""
    removed = 0
    for block in [module for module in model.modules() if HANDLES in vars(module)]:
        vars(block).pop(GUARD).remove()
        for site, handle in vars(block).pop(HANDLES).items():
            handle.remove()
            delattr(block, _child(site))
            removed += 1
        for name, child in list(block.named_children()):
            if isinstance(child, PlainShortcut):
                delattr(block, name)
                setattr(block, name, None)
    return removed


def _refuse_twice(blocks: Sequence[Block], site: str) -> None:
    for block in blocks:
        if site in vars(block.module).get(HANDLES, {}):
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


def _insert(module: nn.Module, site: str, point: Point) -> None:
    block = point.block.module
    if isinstance(point.host, PlainShortcut):
        setattr(block, point.block.kind.shortcut, point.host)
    block.add_module(_child(site), module)
    if GUARD not in vars(block):
        vars(block).update({HANDLES: {}, GUARD: block.register_forward_pre_hook(_guard)})
    handles = vars(block)[HANDLES]
    handles[site] = point.hook(module)
    for later in SITES[SITES.index(site) + 1 :]:  # may be on the same host, and comes after
        if later in handles and (hooks := handles[later].hooks_dict_ref()) is not None:
            hooks.move_to_end(handles[later].id)


def _guard(block: nn.Module, args: tuple) -> None:
    """Attention that silently does nothing would be a wrong result."""
    if torch.compiler.is_compiling():
        return
    for site, handle in vars(block)[HANDLES].items():
        if handle.hooks_dict_ref() is None:
            raise RuntimeError(
                f"the layer with the attention at {site} was replaced after attach: convert the "
                "network first (to SyncBatchNorm, say) and attach then"
            )


def _row(module: nn.Module, site: str, point: Point) -> Row:
    params = sum(parameter.numel() for parameter in module.parameters())
    name = join(point.block.name, _child(site))
    return Row(name, point.place, point.block.stage, point.channels, params)


def _child(site: str) -> str:
    return f"{PREFIX}{site}"
