"""The blocks of torchvision's and timm's networks: which there are, and what is where in each.

They are known by the names of their class and of their children, so that neither library is
imported. A network that `attach` should learn to reach is a line of `KINDS`. A network without
blocks, such as VGG, has its pooling layers in their place.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Literal

from torch import nn

INSIDE = ("inner", "branch", "identity")  # a block, which may lack some: its kind says where
OUTSIDE = ("post", "stage", "head")  # after a block: after each, the last of a stage, the last
SITES = INSIDE + OUTSIDE  # in the order in which a network comes by them
PREFIX = "attention_"  # of the name that attention has in the block it is put into

# "bn3" is what the block's bn3 returns, "before conv3" what its conv3 gets, "." what the block
# returns; a function says so for the one block it is given.
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


def _by_number(blocks: Mapping[str, nn.Module]) -> list[int]:
    """The first number in the name of a block is that of the stage: `inception3a`, `Mixed_6b`."""
    numbers = [re.search(r"\d+|$", name.rpartition(".")[2])[0] for name in blocks]
    order = list(dict.fromkeys(numbers))
    return [order.index(number) + 1 for number in numbers]


def _one_each(blocks: Mapping[str, nn.Module]) -> list[int]:
    """Each block ends a stage."""
    return list(range(1, len(blocks) + 1))


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
    a place with the channels that the block returns, `"a + b"` if it concatenates two maps, or the
    number itself; `shortcut` the child that is None where the shortcut is plain. Without sites a
    block only counts for stages. The map of a stage is what its last block returns, unless `end`
    says that it is what the container returns, with the channels `joined`, or what the block gets.
    """

    name: str
    children: str
    width: Place | int
    sites: Mapping[str, Place]
    stages: Callable[[Mapping[str, nn.Module]], list[int]] = by_container
    shortcut: str = ""
    end: Literal["after block", "after container", "before block"] = "after block"
    joined: Place = ""
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
_dense = partial(Kind, end="after container", joined="before norm1 + conv2")
_inception = partial(Kind, sites={"branch": "."}, stages=_by_number)

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
    # DenseNet of torchvision, then of timm: a layer gets what all before it returned
    _dense("_DenseLayer", "norm1 conv1 norm2 conv2", "conv2",
        {"inner": "before conv2", "branch": "conv2"}),
    _dense("DenseLayer", "norm1 conv1 norm2 conv2", "conv2",
        {"inner": "before conv2", "branch": "conv2"}),
    # GoogLeNet and Inception v3 of torchvision and timm concatenate their branches
    _inception("Inception", "branch1 branch2 branch3 branch4",
        "branch1 + branch2 + branch3 + branch4"),
    _inception("InceptionA", "branch1x1 branch5x5_2 branch3x3dbl_3 branch_pool",
        "branch1x1 + branch5x5_2 + branch3x3dbl_3 + branch_pool"),
    _inception("InceptionB", "branch3x3 branch3x3dbl_3",
        "branch3x3 + branch3x3dbl_3 + before branch3x3"),
    _inception("InceptionC", "branch1x1 branch7x7_3 branch7x7dbl_5 branch_pool",
        "branch1x1 + branch7x7_3 + branch7x7dbl_5 + branch_pool"),
    _inception("InceptionD", "branch3x3_1 branch3x3_2 branch7x7x3_4",
        "branch3x3_2 + branch7x7x3_4 + before branch3x3_1"),
    _inception("InceptionE", "branch1x1 branch3x3_2a branch3x3_2b branch3x3dbl_3a branch3x3dbl_3b "
        "branch_pool", "branch1x1 + branch3x3_2a + branch3x3_2b + branch3x3dbl_3a + "
        "branch3x3dbl_3b + branch_pool"),
    # SqueezeNet and ShuffleNet V2 of torchvision
    Kind("Fire", "squeeze expand1x1 expand3x3", "expand1x1 + expand3x3",
        {"branch": "."}),
    Kind("InvertedResidual", "branch1 branch2", "branch2 + branch2",
        {"inner": "before branch2.5", "branch": "."}),
    # MNASNet, MobileNet V2, MobileNet V3, EfficientNet of torchvision
    _mobile("_InvertedResidual", "layers", "layers",
        {"inner": "before layers.6", "branch": "layers"}),
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
    if own is None and not any(kind.sites for _, _, kind in found):
        found = _pools(model)
    if not found:
        raise ValueError(
            f"attach finds no block it knows in {type(model).__name__}: it knows torchvision's and "
            "timm's of ResNet, ResNeXt, Wide ResNet, RegNet, MobileNet, EfficientNet, ConvNeXt, "
            "DenseNet, GoogLeNet, Inception v3 and VGG, "
            "and timm's ResNeSt, Res2Net, SKNet, CSPNet, DLA and HRNet; "
            "name yours and the layer that ends its residual branch, as in "
            'attach(model, NAM, blocks={MyBlock: {"branch": "bn2"}})'
        )
    _, _, first = found[0]
    stages = first.stages({name: module for name, module, _ in found})
    return [Block(*block, stage) for block, stage in zip(found, stages, strict=True)]


def _pools(model: nn.Module) -> list[tuple[str, nn.Module, Kind]]:
    """Each pooling layer that follows a convolution or a norm in one nn.Sequential.

    The layers of an nn.Sequential run in their order, so that the channels are known.
    """
    found = []
    for path, layers in model.named_modules():
        channels = None
        for name, layer in layers.named_children() if isinstance(layers, nn.Sequential) else ():
            if "Pool" in type(layer).__name__ and channels is not None:
                kind = Kind(type(layer).__name__, "", channels, {}, _one_each, end="before block")
                found.append((join(path, name), layer, kind))
            elif getattr(layer, "weight", None) is not None:
                channels = getattr(layer, "out_channels", len(layer.weight))
            elif next(layer.parameters(), None) is not None:
                channels = None
    return found


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
    """The name in the network of what `parent` calls `name`; the network itself has no name."""
    return ".".join(filter(None, (parent, name)))


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
