"""Attention modules for convolutional networks: one paper, one file.

The contract of all of them: the first argument is the channel count, and (N, C, H, W) in is
(N, C, H, W) out. A module whose constructor has `stage` or `size` is told, by the network it goes
into, the stage (from 1) and the map's (H, W).
"""

from torch import nn

from attn.bam import BAM
from attn.cbam import CBAM
from attn.controls import Half, Scalar
from attn.eca import ECA
from attn.nam import NAM
from attn.se import SE
from attn.triplet import Triplet

__all__ = ["BAM", "CBAM", "ECA", "NAM", "SE", "Half", "Scalar", "Triplet", "names"]

_MODULES = {
    "none": nn.Identity,
    "half": Half,
    "scalar": Scalar,
    "se": SE,
    "eca": ECA,
    "cbam": CBAM,
    "bam": BAM,
    "nam": NAM,
    "triplet": Triplet,
}


def names() -> dict[str, type[nn.Module]]:
    """The mechanisms by the name they have on the command line (`attn=nam`)."""
    return dict(_MODULES)
