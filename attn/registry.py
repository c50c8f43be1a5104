"""The mechanisms by the names they have on the command line (`attn=nam`)."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from attn import fusions
from attn.aff import AFF, IAFF
from attn.bam import BAM
from attn.cbam import CBAM
from attn.controls import ConstantGate, Half, Scalar
from attn.coord import CoordAttention
from attn.dia import DIA
from attn.ea import ExternalAttention
from attn.eca import ECA
from attn.ema import EMA
from attn.gam import GAM
from attn.gc import GC
from attn.ge import GE
from attn.ie import IE, IEBN
from attn.mscam import MSCAM
from attn.nam import NAM
from attn.psa import PSA
from attn.se import SE
from attn.sem import SEM
from attn.shuffle import ShuffleAttention
from attn.simam import SimAM
from attn.sk import SK
from attn.spa import SPA
from attn.srm import SRM
from attn.triplet import Triplet

TOLD = ("channels", "in_channels", "out_channels", "stride", "groups", "stage", "size")


@dataclass(frozen=True)
class Mechanism:
    """What makes the modules, and the slot they fill: a site, or the fusion, conv or norm."""

    module: Callable[..., object]
    slot: str = "site"

    @property
    def paper(self) -> str:
        """The first words of its file: acronym, title, authors, year."""
        text = sys.modules[self.module.__module__].__doc__ or ""
        return " ".join(text.split("\n\n")[0].split())

    @property
    def options(self) -> dict[str, object]:
        """The options of its own, with their defaults; not what the network tells it."""
        parameters = inspect.signature(self.module).parameters.values()
        chosen = [p for p in parameters if p.name not in (*TOLD, "args", "kwargs")]
        return {p.name: p.default for p in chosen}

    def factory(self, **options: object) -> Callable[..., nn.Module]:
        """`channels -> module`, the thing that a slot and `attach` take."""
        if isinstance(self.module, type) and issubclass(self.module, nn.Module):
            return partial(self.module, **options)
        return self.module(**options)  # one object makes all modules of a network

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.slot}: {self.paper} [{options}]"


_SITES = {
    "none": nn.Identity,
    "half": Half,
    "constant": ConstantGate,
    "scalar": Scalar,
    "se": SE,
    "eca": ECA,
    "cbam": CBAM,
    "bam": BAM,
    "nam": NAM,
    "triplet": Triplet,
    "ie": IE,
    "sem": SEM,
    "shuffle": ShuffleAttention,
    "mscam": MSCAM,
    "ge": GE,
    "gc": GC,
    "coord": CoordAttention,
    "simam": SimAM,
    "srm": SRM,
    "spa": SPA,
    "ema": EMA,
    "gam": GAM,
    "dia": DIA,
    "ea": ExternalAttention,
}
_FUSIONS = {
    "aff": AFF,
    "iaff": IAFF,
    "fuse_concat": fusions.ConcatFuse,
    "fuse_se": fusions.SEFuse,
    "fuse_gau": fusions.GAUFuse,
    "fuse_sk": fusions.SKFuse,
    "fuse_ay_for_x_plus_y": fusions.AYforXplusY,
    "fuse_x_plus_ay_for_y": fusions.XplusAYforY,
    "fuse_axy_for_x_plus_y": fusions.AXYforXplusY,
    "fuse_axy_for_xy": fusions.AXYforXY,
    "fuse_glob_loca": fusions.ResGlobLocaCha,
    "fuse_glob": fusions.ResGlobCha,
    "fuse_loca": fusions.ResLocaCha,
    "fuse_glob_glob": fusions.ResGlobGlobCha,
    "fuse_loca_loca": fusions.ResLocaLocaCha,
    "fuse_glob_for_glob": fusions.ResGlobforGlobCha,
    "fuse_loca_for_loca": fusions.ResLocaforLocaCha,
}


def names() -> dict[str, Mechanism]:
    """Every mechanism by its name; `print(*attn.names().items(), sep="\\n")` lists them."""
    return {
        **{name: Mechanism(module) for name, module in _SITES.items()},
        **{name: Mechanism(module, "fusion") for name, module in _FUSIONS.items()},
        "sk": Mechanism(SK, "conv"),
        "psa": Mechanism(PSA, "conv"),
        "iebn": Mechanism(IEBN, "norm"),
    }
