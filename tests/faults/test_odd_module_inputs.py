"""Nine kinds of odd input: every mechanism works, or is refused in one line when built.

No other shape, no NaN and no error from inside a library is allowed. The only exception is torch's
own error: in training, BatchNorm has no statistics of a single value.
"""

import copy
import inspect
import re
import warnings

import pytest
import torch
from torch import Tensor, nn

import attn

pytestmark = pytest.mark.fault("B7")

CHANNELS = 64
FITTING = {"shuffle": {"groups": 4}}  # its 64 groups need 128 channels
ONE_VALUE = "Expected more than 1 value per channel when training"
# BatchNorm on a pooled map: training needs more than one image.
POOLED = {
    "aff", "bam", "fuse_axy_for_x_plus_y", "fuse_axy_for_xy", "fuse_ay_for_x_plus_y", "fuse_gau",
    "fuse_glob", "fuse_glob_for_glob", "fuse_glob_glob", "fuse_glob_loca", "fuse_se", "fuse_sk",
    "fuse_x_plus_ay_for_y", "ge", "iaff", "mscam", "sk", "srm",
}  # fmt: skip
# BatchNorm on the map: training needs more than one pixel.
LOCAL = {
    "cbam", "fuse_concat", "fuse_loca", "fuse_loca_for_loca", "fuse_loca_loca", "gam", "iebn",
    "nam", "triplet",
}  # fmt: skip


class Mechanism:
    """A mechanism, built and called as a slot builds and calls it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.slot = attn.names()[name].slot

    def build(self, size: tuple[int, int] = (8, 8), channels: int = CHANNELS) -> nn.Module:
        options = FITTING.get(self.name, {}) if channels == CHANNELS else {}
        factory = attn.names()[self.name].factory(**options)
        asked = inspect.signature(factory).parameters
        told = {name: fact for name, fact in {"stage": 1, "size": size}.items() if name in asked}
        torch.manual_seed(0)
        widths = (channels, channels) if self.slot == "conv" else (channels,)
        return factory(*widths, **told)

    def call(self, module: nn.Module, x: Tensor) -> Tensor:
        """The output, which must be finite and have the shape and type of the input."""
        y = module(x, 0.5 * x.flip(1)) if self.slot == "fusion" else module(x)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert y.isfinite().all()
        return y


@pytest.fixture(params=attn.names())
def mechanism(request):
    return Mechanism(request.param)


def images(n: int = 2, size: tuple[int, int] = (8, 8), channels: int = CHANNELS) -> Tensor:
    return torch.randn(n, channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def works(tally):
    """works(mechanism, what, x): the mechanism works in training and in evaluation."""

    def check(mechanism: Mechanism, what: str, x: Tensor, **made) -> None:
        module = mechanism.build(tuple(x.shape[2:]), **made)
        for training in (True, False):
            mechanism.call(module.train(training), x)
        tally("B7", what, [True])

    return check


def test_a_map_of_one_pixel(mechanism, works):
    works(mechanism, "1x1 map", images(size=(1, 1)))


def test_odd_sizes(mechanism, works):
    works(mechanism, "odd sizes", images(size=(7, 5)))


@pytest.mark.parametrize("channels", [1, 4, 7, 50, 96])
def test_widths_that_groups_and_reductions_do_not_divide(mechanism, channels, tally):
    """With C below the reduction, or not divisible, a mechanism works or is refused when built."""
    x = images(channels=channels)
    refusal = None
    try:
        module = mechanism.build(channels=channels)
    except ValueError as error:
        refusal = str(error)
    if refusal is None:
        mechanism.call(module, x)
    else:
        assert re.fullmatch(rf".*\b{channels} channels.*", refusal)  # one line
    tally("B7", "C below the reduction" if channels < 16 else "C not divisible", [True])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(mechanism, dtype, tally):
    """As a module of this type, and under autocast; in evaluation close to float32.

    In training, a BatchNorm of two pooled images magnifies the last bit of their difference.
    """
    x = images().to(dtype)
    for training in (True, False):
        module = mechanism.build().train(training)
        exact = mechanism.call(copy.deepcopy(module), x.float())
        halved = mechanism.call(copy.deepcopy(module).to(dtype), x)
        with torch.autocast("cpu", dtype):
            mixed = mechanism.call(module, x)
    for rounded in (halved, mixed):
        torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)
    tally("B7", "fp16 and bf16", [True])


def test_channels_last(mechanism, tally):
    """channels_last gives the same numbers and stays channels_last."""
    x, module = images(), mechanism.build()
    for training in (True, False):
        module.train(training)
        last = copy.deepcopy(module).to(memory_format=torch.channels_last)
        y = mechanism.call(last, x.to(memory_format=torch.channels_last))
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y, mechanism.call(module, x), rtol=1e-4, atol=1e-5)
    tally("B7", "channels_last", [True])


@pytest.mark.parametrize("size", [(8, 8), (1, 1)])
def test_an_image_alone(mechanism, size, tally):
    """Every module evaluates one image; a module whose BatchNorm sees one value cannot train."""
    x, module = images(1, size), mechanism.build(size)
    mechanism.call(module.eval(), x)
    untrainable = POOLED | LOCAL if size == (1, 1) else POOLED
    if mechanism.name in untrainable:
        with pytest.raises(ValueError, match=ONE_VALUE):
            mechanism.call(module.train(), x)
    else:
        mechanism.call(module.train(), x)
    tally("B7", "batch of one", [True])


def test_no_image(mechanism, tally):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*degrees of freedom")  # torch: no pixels
        mechanism.call(mechanism.build().eval(), images(0))
    tally("B7", "empty batch", [True])


def test_without_gradients(mechanism, tally):
    """Inference mode gives the same numbers as a pass with gradients."""
    module, x = mechanism.build().eval(), images()
    with torch.inference_mode():
        free = mechanism.call(module, x)
    assert not free.requires_grad
    assert torch.equal(free, mechanism.call(module, x))
    tally("B7", "without gradients", [True])
