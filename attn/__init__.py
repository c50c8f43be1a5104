"""Attention modules for convolutional networks: one paper, one file.

The contract of nearly all: the first argument is the channel count, and (N, C, H, W) in is
(N, C, H, W) out. Fusions take (shortcut, branch), operators stand for a 3x3 convolution, IEBN for a
BatchNorm2d. A module whose constructor has `stage` or `size` is told, by the network it goes into,
the stage (from 1) and the map's (H, W). `names()` lists the modules, `attach` puts one into any
network, `bake` makes attached modules layers of the network.
"""

from attn.aff import AFF, IAFF
from attn.bam import BAM
from attn.cbam import CBAM
from attn.controls import ConstantGate, Half, Scalar
from attn.coord import CoordAttention
from attn.dia import DIA
from attn.ea import ExternalAttention
from attn.eca import ECA
from attn.ema import EMA
from attn.fused.epilogue import FusedEpilogue
from attn.fusions import (
    AXYforXplusY,
    AXYforXY,
    AYforXplusY,
    ConcatFuse,
    GAUFuse,
    ResGlobCha,
    ResGlobforGlobCha,
    ResGlobGlobCha,
    ResGlobLocaCha,
    ResLocaCha,
    ResLocaforLocaCha,
    ResLocaLocaCha,
    SEFuse,
    SKFuse,
    XplusAYforY,
)
from attn.gam import GAM
from attn.gc import GC
from attn.ge import GE
from attn.ie import IE, IEBN
from attn.mscam import MSCAM
from attn.nam import NAM
from attn.psa import PSA
from attn.registry import Mechanism, names
from attn.se import SE
from attn.sem import SEM
from attn.shuffle import ShuffleAttention
from attn.simam import SimAM
from attn.sk import SK
from attn.spa import SPA
from attn.srm import SRM
from attn.surgery.attach import attach, detach
from attn.surgery.bake import bake
from attn.surgery.gain import Gain, WithGain, gained
from attn.surgery.keys import rename_keys
from attn.triplet import Triplet

__all__ = [
    "AFF",
    "BAM",
    "CBAM",
    "DIA",
    "ECA",
    "EMA",
    "GAM",
    "GC",
    "GE",
    "IAFF",
    "IE",
    "IEBN",
    "MSCAM",
    "NAM",
    "PSA",
    "SE",
    "SEM",
    "SK",
    "SPA",
    "SRM",
    "AXYforXY",
    "AXYforXplusY",
    "AYforXplusY",
    "ConcatFuse",
    "ConstantGate",
    "CoordAttention",
    "ExternalAttention",
    "FusedEpilogue",
    "GAUFuse",
    "Gain",
    "Half",
    "Mechanism",
    "ResGlobCha",
    "ResGlobGlobCha",
    "ResGlobLocaCha",
    "ResGlobforGlobCha",
    "ResLocaCha",
    "ResLocaLocaCha",
    "ResLocaforLocaCha",
    "SEFuse",
    "SKFuse",
    "Scalar",
    "ShuffleAttention",
    "SimAM",
    "Triplet",
    "WithGain",
    "XplusAYforY",
    "attach",
    "bake",
    "detach",
    "gained",
    "names",
    "rename_keys",
]
