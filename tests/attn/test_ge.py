import math
from functools import partial

import pytest
import torch

from attn.ge import GE
from models import Slots, resnet50

VARIANTS = ["theta-minus", "theta", "theta-plus"]


def gathered(slow, x):
    (weight,) = slow["gather.weight"]
    n, channels, height, width = slow.shape(x)

    def entry(n, c, *_):
        pixels = ((h, w) for h in range(height) for w in range(width))
        return sum(weight[c][h][w] * x[n][c][h][w] for h, w in pixels)

    maps = slow.batch_norm("gather.bn", slow.build((n, channels, 1, 1), entry))
    return slow.pooled(slow.mean, maps)


def formula(variant):
    def ge(slow, x):
        logits = slow.pooled(slow.mean, x) if variant == "theta-minus" else gathered(slow, x)
        if variant == "theta-plus":
            hidden = slow.relu(slow.linear("excite.1", slow.relu(logits)))
            logits = slow.linear("excite.3", hidden)
        return slow.build(
            slow.shape(x), lambda n, c, h, w: x[n][c][h][w] * slow.sigmoid(logits[n][c])
        )

    return ge


@pytest.fixture
def x():
    return torch.randn(3, 4, 2, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, variant, training):
    is_formula(GE(4, variant, reduction=2, size=(2, 3)), formula(variant), training)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, variant, training):
    gradients_are_numerical(GE(4, variant, reduction=2, size=(2, 3)), training)


def test_the_gather_is_a_depthwise_convolution_as_large_as_the_map(x):
    module = GE(4, "theta", size=(2, 3)).double()
    kernel = module.gather.weight.transpose(0, 1)
    expected = torch.nn.functional.conv2d(x, kernel, groups=4)[:, :, 0, 0]
    torch.testing.assert_close(module.gather(x), module.gather.bn(expected))


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("theta-minus", 25_557_032), ("theta", 31_106_600), ("theta-plus", 33_638_616 - 1024)],
)
def test_imagenet_resnet50_has_the_published_counts(variant, expected):
    """In the authors' theta-plus, one of sixteen gathers has a bias, which its BN cancels."""
    with torch.device("meta"):
        net = resnet50(slots=Slots(partial(GE, variant=variant), sites=["branch"]))
    assert sum(p.numel() for p in net.parameters()) == expected


def test_weights_start_as_the_authors_do():
    torch.manual_seed(0)
    module = GE(256, size=(14, 14))
    assert module.gather.weight.std().item() == pytest.approx(math.sqrt(2) / 14, rel=0.05)
    assert module.excite[1].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert module.excite[1].bias.abs().max() == 0


def test_theta_minus_takes_maps_of_any_size():
    module = GE(4, "theta-minus", size=(2, 3))
    x = torch.randn(2, 4, 7, 2)
    assert torch.equal(module(x), x * x.mean((2, 3), keepdim=True).sigmoid())


def test_theta_takes_maps_of_one_size(x):
    with pytest.raises(
        ValueError, match=r"GE's gather has .* of 4x4 maps, and got a map of 2x3: build"
    ):
        GE(4, "theta", size=(4, 4)).double()(x)


def test_unknown_variant_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match="variant=plus: choose from theta-minus, theta, theta-plus"
    ):
        GE(16, "plus")


@pytest.mark.parametrize("variant", ["theta", "theta-plus"])
def test_learnt_gather_without_a_size_is_refused(variant):
    with pytest.raises(ValueError, match=rf"variant={variant} has a weight per pixel: say"):
        GE(16, variant)


def test_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        GE(8, size=(2, 2))
