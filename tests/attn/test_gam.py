import pytest
import torch

from attn.gam import GAM
from models import Slots, resnet50


def formula(gate):
    def gam(slow, x):
        hidden = slow.relu(slow.conv("channel.0", x))
        logits = slow.conv("channel.2", hidden)
        squash = {"sigmoid": slow.sigmoid, "linear": float}[gate]
        z = slow.build(slow.shape(x), lambda n, c, h, w: x[n][c][h][w] * squash(logits[n][c][h][w]))
        hidden = slow.relu(slow.batch_norm("spatial.1", slow.conv("spatial.0", z)))
        logits = slow.batch_norm("spatial.4", slow.conv("spatial.3", hidden))
        return slow.build(
            slow.shape(x), lambda n, c, h, w: z[n][c][h][w] * slow.sigmoid(logits[n][c][h][w])
        )

    return gam


@pytest.fixture
def x():
    return torch.randn(2, 4, 2, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("gate", ["sigmoid", "linear"])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, gate, training):
    is_formula(GAM(4, 2, gate), formula(gate), training)


@pytest.mark.parametrize("gate", ["sigmoid", "linear"])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, gate, training):
    gradients_are_numerical(GAM(4, 4, gate), training)


def test_cifar_resnet50_has_the_published_count():
    with torch.device("meta"):
        net = resnet50(num_classes=100, stem="cifar", slots=Slots(GAM, sites=["branch"]))
    assert sum(p.numel() for p in net.parameters()) == 149_500_596


def test_unknown_gate_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="gate=relu: choose from sigmoid, linear"):
        GAM(16, gate="relu")


def test_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        GAM(8)
