import math

import pytest
import torch

from attn.shuffle import ShuffleAttention
from models import Slots, resnet50


def formula(groups):
    def shuffle(slow, x):
        half = len(x[0]) // (2 * groups)
        means = slow.pooled(slow.mean, x)
        variances = slow.pooled(lambda p: slow.mean([(v - slow.mean(p)) ** 2 for v in p]), x)

        def gated(n, c, h, w):
            v, k = x[n][c][h][w], c % half
            if c % (2 * half) < half:
                logit = slow["channel_weight"][k] * means[n][c] + slow["channel_bias"][k]
            else:
                normed = (v - means[n][c]) / math.sqrt(variances[n][c] + 1e-5)
                normed = slow["norm_weight"][k] * normed + slow["norm_bias"][k]
                logit = slow["spatial_weight"][k] * normed + slow["spatial_bias"][k]
            return v * slow.sigmoid(logit)

        def entry(n, c, h, w):
            return gated(n, c // 2 + (len(x[0]) // 2 if c % 2 else 0), h, w)

        return slow.build(slow.shape(x), entry)

    return shuffle


@pytest.fixture
def x():
    return torch.randn(2, 12, 3, 2, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, groups, training):
    is_formula(ShuffleAttention(12, groups), formula(groups), training)


def test_gradients_are_numerical(gradients_are_numerical):
    gradients_are_numerical(ShuffleAttention(12, 3), training=True)


def test_starts_as_a_constant_gate_and_the_shuffle(x):
    start = torch.tensor(1.0).double().sigmoid()
    expected = torch.stack([x[:, :6], x[:, 6:]], 2).flatten(1, 2) * start
    torch.testing.assert_close(ShuffleAttention(12, 3).double()(x), expected)


def test_channels_last_stays_so(x):
    y = ShuffleAttention(12, 3).double()(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_imagenet_resnet50_has_the_published_count():
    with torch.device("meta"):
        net = resnet50(slots=Slots(ShuffleAttention, sites=["branch"]))
    assert sum(p.numel() for p in net.parameters()) == 25_557_740


@pytest.mark.parametrize(("channels", "groups"), [(64, 64), (192, 64), (12, 4), (12, 0)])
def test_groups_that_do_not_fit_are_refused(channels, groups):
    with pytest.raises(ValueError, match=f"groups={groups} does not fit {channels} channels"):
        ShuffleAttention(channels, groups)
