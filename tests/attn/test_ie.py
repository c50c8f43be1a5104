import pytest
import torch

from attn.ie import IE, IEBN
from models import Slots, resnet164


def gates(slow, x):
    weight, bias = slow["enhance.weight"], slow["enhance.bias"]
    return [
        [slow.sigmoid(w * m + b) for w, m, b in zip(weight, means, bias, strict=True)]
        for means in slow.pooled(slow.mean, x)
    ]


def ie(slow, x):
    gate = gates(slow, x)
    return slow.build(slow.shape(x), lambda n, c, h, w: x[n][c][h][w] * gate[n][c])


def iebn(slow, x):
    channels = len(x[0])
    slow.state |= {"bn.weight": [1.0] * channels, "bn.bias": [0.0] * channels}
    gate, normed = gates(slow, x), slow.batch_norm("bn", x)

    def entry(n, c, h, w):
        return slow["weight"][c] * gate[n][c] * normed[n][c][h][w] + slow["bias"][c]

    return slow.build(slow.shape(x), entry)


@pytest.mark.parametrize(("module", "formula"), [(IE, ie), (IEBN, iebn)])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, module, formula, training):
    is_formula(module(4), formula, training)


@pytest.mark.parametrize("module", [IE, IEBN])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, module, training):
    gradients_are_numerical(module(4), training)


def test_the_gate_starts_at_sigmoid_of_minus_one(x):
    start = torch.tensor(-1.0).double().sigmoid()
    torch.testing.assert_close(IE(4).double()(x), start * x)
    normed = torch.nn.BatchNorm2d(4).double()(x)
    torch.testing.assert_close(IEBN(4).double()(x), start * normed)


def test_the_shift_is_not_gated(x):
    module = IEBN(4).double()
    torch.nn.init.constant_(module.enhance.bias, -1e4)
    torch.nn.init.constant_(module.bias, 3.0)
    assert torch.equal(module(x), torch.full_like(x, 3.0))


def test_statistics_are_as_the_network_says():
    module = IEBN(4, eps=1e-3, momentum=0.01)
    assert (module.bn.eps, module.bn.momentum) == (1e-3, 0.01)


def test_synchronized_statistics_keep_the_gate():
    module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(IEBN(4))
    assert isinstance(module, IEBN)
    assert isinstance(module.bn, torch.nn.SyncBatchNorm)


@pytest.mark.parametrize(("num_classes", "expected"), [(10, 1_728_378), (100, 1_751_508)])
def test_resnet164_has_the_published_count(num_classes, expected):
    """The authors' network: IEBN for every BN except the BNs of the projections."""
    with torch.device("meta"):
        net = resnet164(num_classes=num_classes, slots=Slots(norm=IEBN))
    assert sum(p.numel() for p in net.parameters()) == expected
