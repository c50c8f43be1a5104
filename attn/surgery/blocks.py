"""The blocks of torchvision's and timm's networks: which there are, and what is where in each.

They are known by the names of their class and of their children, so that neither library is
imported. A network that `attach` should learn to reach is a line of `KINDS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from torch import nn

INSIDE = ("inner", "branch", "identity")  # a block, which may lack some: its kind says where
OUTSIDE = ("post", "stage", "head")  # after a block: after each, the last of a stage, the last
SITES = INSIDE + OUTSIDE  # in the order in which a network comes by them
PREFIX = "attention_"  # of the name that attention has in the block it is put into

# "bn3" is what the block's bn3 returns, "before conv3" what its conv3 gets; a function says so for
# the one block it is given.
Place = str | Callable[[nn.Module], str]
Blocks = Mapping[type[nn.Module], Mapping[str, Place]]


def by_container(blocks: Mapping[str, nn.Module]) -> list[int]:
    """Blocks of one stage lie in one module, such as `layer1`.

    A container that lies deeper than another is a part of a stage, as each branch of an HRNet is.
    """
    parents = [_parent(name).split(".") for name in blocks]
    depth = min(len(parent) for parent in parents)
    stages = [tuple(parent[:depth]) for parent in parents]
    order = list(dict.fromkeys(stages))
    return [order.index(stage) + 1 for stage in stages]


def _by_resolution(blocks: Mapping[str, nn.Module]) -> list[int]:
    """Blocks of one stage have maps of one size; the last is stage 4, and none is below 1."""
    halvings = list(accumulate(_shrinks(block) for block in blocks.values()))
    return [max(1, 4 + halved - halvings[-1]) for halved in halvings]


def _shrinks(block: nn.Module) -> bool:
    """A block with a shortcut may stride inside, as attention does, and keep its size."""
    if getattr(block, "has_skip", False) or getattr(block, "use_res_connect", False):
        return False
    own = [child for name, child in block.named_children() if not name.startswith(PREFIX)]
    strides = [getattr(module, "stride", 1) for child in own for module in child.modules()]
    return any(max(s if isinstance(s, tuple) else (s,)) > 1 for s in strides)


def _depthwise(block: nn.Module) -> str:
    """The convolution-norm-activation around the depthwise convolution of a torchvision block."""
    grouped = (n for n, m in block.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1)
    return _parent(next(grouped))


def _last_of_conv(block: nn.Module) -> str:
    """The norm that ends it: our own networks do not call the nn.Sequential as a whole."""
    return f"conv.{len(block.conv) - 1}"


def _se_or(norm: str, block: nn.Module) -> str:
    """Attention that a timm ResNet has of its own ends the branch."""
    return norm if getattr(block, "se", None) is None else "se"


@dataclass(frozen=True)
class Kind:
    """A class of block: its name (or that of a class it derives from), and what is where in it.

    It registers `children` in this order, and any flag that is named after them is set. `width` is
    a place with the channels that the block returns, `shortcut` the child that is None where the
    shortcut is plain. Without sites a block is a mere convolution: it only counts for stages.
    """

    name: str
    children: str
    width: Place
    sites: Mapping[str, Place]
    stages: Callable[[Mapping[str, nn.Module]], list[int]] = by_container
    shortcut: str = ""
    own: type[nn.Module] | None = None  # the class itself, where the user has named it

    def knows(self, module: nn.Module) -> bool:
        if self.own is not None:
            return isinstance(module, self.own)
        names = self.children.split()
        order = [name for name, _ in module.named_children() if name in names]
        flags = [name for name in names if vars(module).get(name) is True]
        derived = self.name in [base.__name__ for base in type(module).__mro__]
        return derived and order + flags == names


_resnet = partial(Kind, shortcut="downsample")
_mobile = partial(Kind, stages=_by_resolution)

# fmt: off
KINDS = (
    # ResNet, ResNeXt, Wide ResNet of torchvision and timm
    _resnet("Bottleneck", "conv1 bn1 conv2 bn2 conv3 bn3", "bn3",
        {"inner": "before conv3", "branch": partial(_se_or, "bn3"), "identity": "downsample"}),
    _resnet("BasicBlock", "conv1 bn1 conv2 bn2", "bn2",
        {"inner": "before conv2", "branch": partial(_se_or, "bn2"), "identity": "downsample"}),
    # ResNeSt, Res2Net, SKNet, CSPNet and DLA of timm
    _resnet("ResNestBottleneck", "conv1 bn1 conv2 conv3 bn3", "bn3",
        {"inner": "before conv3", "branch": "bn3", "identity": "downsample"}),
    _resnet("Bottle2neck", "conv1 bn1 convs conv3 bn3", "bn3",
        {"inner": "before conv3", "branch": partial(_se_or, "bn3"), "identity": "downsample"}),
    _resnet("SelectiveKernelBasic", "conv1 conv2", "conv2",
        {"inner": "before conv2", "branch": partial(_se_or, "conv2"), "identity": "downsample"}),
    _resnet("SelectiveKernelBottleneck", "conv1 conv2 conv3", "conv3",
        {"inner": "before conv3", "branch": partial(_se_or, "conv3"), "identity": "downsample"}),
    Kind("BottleneckBlock", "conv1 conv2 attn2 conv3 attn3 drop_path", "conv3",
        {"inner": "attn2", "branch": "attn3"}),
    Kind("DarkBlock", "conv1 attn conv2 drop_path", "conv2", {"inner": "attn", "branch": "conv2"}),
    Kind("DlaBasic", "conv1 bn1 conv2 bn2", "bn2", {"inner": "before conv2", "branch": "bn2"}),
    Kind("DlaBottleneck", "conv1 bn1 conv2 bn2 conv3 bn3", "bn3",
        {"inner": "before conv3", "branch": "bn3"}),
    Kind("DlaBottle2neck", "conv1 bn1 convs conv3 bn3", "bn3",
        {"inner": "before conv3", "branch": "bn3"}),
    # RegNet of torchvision, then of timm, where downsample=None is no shortcut at all
    Kind("ResBottleneckBlock", "f activation", "f",
        {"inner": "f.b", "branch": "f", "identity": "proj"}, shortcut="proj"),
    Kind("Bottleneck", "conv1 conv2 conv3 act3", "conv3",
        {"inner": "conv2", "branch": "conv3", "identity": "downsample"}),
    Kind("PreBottleneck", "norm1 conv1 norm2 conv2 norm3 conv3", "conv3",
        {"inner": "before conv3", "branch": "conv3", "identity": "downsample"}),
    # ConvNeXt of torchvision and timm: its inner maps are channels last, no place for attention
    Kind("CNBlock", "block stochastic_depth", "block.0", {"branch": "before stochastic_depth"}),
    Kind("ConvNeXtBlock", "conv_dw norm mlp shortcut drop_path", "conv_dw",
        {"branch": "before drop_path", "identity": "shortcut"}),
    # MobileNet V2, MobileNet V3, EfficientNet of torchvision
    _mobile("InvertedResidual", "conv", "conv", {"inner": _depthwise, "branch": _last_of_conv}),
    _mobile("InvertedResidual", "block", "block", {"inner": _depthwise, "branch": "block"}),
    _mobile("MBConv", "block", "block", {"inner": _depthwise, "branch": "block"}),
    _mobile("FusedMBConv", "block", "block", {"inner": "block.0", "branch": "block"}),
    # MobileNet V1 to V4, EfficientNet of timm
    _mobile("InvertedResidual", "conv_dw bn2 conv_pwl bn3", "bn3",
        {"inner": "bn2", "branch": "bn3"}),
    _mobile("DepthwiseSeparableConv", "conv_dw bn1 conv_pw bn2", "bn2",
        {"inner": "bn1", "branch": "bn2"}),
    _mobile("EdgeResidual", "conv_exp bn1 conv_pwl bn2", "bn2",
        {"inner": "bn1", "branch": "bn2"}),
    _mobile("UniversalInvertedResidual", "dw_mid pw_proj layer_scale", "pw_proj",
        {"inner": "before pw_proj", "branch": "layer_scale"}),
    _mobile("MobileAttention", "norm attn layer_scale", "attn", {"branch": "layer_scale"}),
    _mobile("ConvBnAct", "conv bn1 has_skip", "bn1", {"inner": "bn1", "branch": "bn1"}),
    _mobile("ConvBnAct", "conv bn1", "bn1", {}),
)
# fmt: on


@dataclass(frozen=True)
class Block:
    """A block of a network, its `name` there, and the number of its stage."""

    name: str
    module: nn.Module
    kind: Kind
    stage: int

    @property
    def container(self) -> str:
        return _parent(self.name)

    def sites(self) -> str:
        return ", ".join(site for site in SITES if site in (*self.kind.sites, *OUTSIDE))


def find(model: nn.Module, own: Blocks | None) -> list[Block]:
    """The blocks of the network, in its order."""
    kinds = KINDS if own is None else _own_kinds(own)
    found = [
        (name, module, kind)
        for name, module in model.named_modules()
        if (kind := _kind(kinds, module))
    ]
    if not any(kind.sites for _, _, kind in found):
        raise ValueError(
            f"attach finds no block it knows in {type(model).__name__}: it knows torchvision's and "
            "timm's of ResNet, ResNeXt, Wide ResNet, RegNet, MobileNet, EfficientNet and ConvNeXt, "
            "and timm's ResNeSt, Res2Net, SKNet, CSPNet, DLA and HRNet; "
            "name yours and the layer that ends its residual branch, as in "
            'attach(model, NAM, blocks={MyBlock: {"branch": "bn2"}})'
        )
    _, _, first = found[0]
    stages = first.stages({name: module for name, module, _ in found})
    return [Block(*block, stage) for block, stage in zip(found, stages, strict=True)]


def _kind(kinds: Sequence[Kind], module: nn.Module) -> Kind | None:
    return next((kind for kind in kinds if kind.knows(module)), None)


def _own_kinds(own: Blocks) -> list[Kind]:
    for block, sites in own.items():
        if "branch" not in sites or set(sites) - set(INSIDE):
            raise ValueError(
                f"blocks names {', '.join(sites) or 'nothing'} of {block.__name__}: it must name "
                "the branch, and can name inner and identity"
            )
        if issubclass(block, nn.Sequential):
            raise ValueError(
                f"{block.__name__} is an nn.Sequential, which would run the attention as a layer "
                "of its own: derive it from nn.Module"
            )
    return [
        Kind(block.__name__, "", sites["branch"], sites, own=block) for block, sites in own.items()
    ]


def join(parent: str, name: str) -> str:
    """The name in the network of what `parent` calls `name`; the network itself has none."""
    return f"{parent}.{name}" if parent else name


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
