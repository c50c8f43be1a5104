import math

import pytest
import torch
from torch import nn

import attn
from engine.training.gate_stats import GateStatistics, effective, is_scaled, measure_gates, modules
from engine.training.loop import evaluate, train_epoch
from engine.training.run import Run
from engine.transforms.normalize import Normalize

NORMALIZE = Normalize("digits")


class Net(nn.Module):
    """Two stages, with maps of 8x8 and 4x4; attention follows each convolution."""

    def __init__(self, *attention):
        super().__init__()
        torch.manual_seed(0)
        for module in attention:
            if not isinstance(module, nn.Identity):
                module.attention_site = "branch"  # as models.Slots marks its modules
        self.layer1 = nn.Sequential(nn.Conv2d(3, 32, 3, 1, 1), nn.BatchNorm2d(32), attention[0])
        self.layer2 = nn.Sequential(nn.Conv2d(32, 32, 3, 2, 1), attention[-1])
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(32, 3)

    def forward(self, x):
        return self.fc(self.dropout(self.layer2(self.layer1(x)).mean((2, 3))))


@pytest.fixture
def seen(new_run, images):
    """seen(modules): the gate statistics of a network with these modules."""

    def run_of(*attention):
        run = new_run()
        return Run(Net(*attention), run.recipe, run.seeds, "cpu", "fp32")

    return lambda *attention: measure_gates(run_of(*attention), images, NORMALIZE)


def stirred(module):
    """Move the parameters: at first, some gates are constant and some additions are 0."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return module


def test_a_constant_gate_is_itself_exactly(seen):
    assert seen(attn.Half(32)).scalars() == {
        "gate/8x8/mean": 0.5, "gate/8x8/std": 0.0, "gate/4x4/mean": 0.5, "gate/4x4/std": 0.0,
    }  # fmt: skip


def test_stages_are_apart(seen):
    scalar = attn.Scalar(32)
    scalar.logit.data.fill_(2.0)
    scalars = seen(scalar, attn.Half(32)).scalars()
    assert scalars["gate/8x8/mean"] == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-6)
    assert scalars["gate/4x4/mean"] == 0.5


def test_the_gates_of_se_are_those_of_slow_loops():
    module = stirred(attn.SE(32)).double()
    x = torch.randn(3, 32, 4, 4, dtype=torch.float64)
    w1, b1, w2, b2 = (p.tolist() for p in module.parameters())
    expected = []
    for image in x.tolist():
        means = [sum(map(sum, channel)) / 16 for channel in image]
        hidden = [sum(map(math.prod, zip(w, means, strict=True))) for w in w1]
        hidden = [max(0, h + b) for h, b in zip(hidden, b1, strict=True)]
        logits = [sum(map(math.prod, zip(w, hidden, strict=True))) for w in w2]
        expected += [1 / (1 + math.exp(-v - b)) for v, b in zip(logits, b2, strict=True)]
    assert effective(x, module(x)).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_spatial_gate_is_a_mean_weighted_by_the_square_of_the_map():
    x = torch.tensor([[[[1.0, 2.0]], [[0.0, 0.0]]]])
    gates = effective(x, x * torch.tensor([0.5, 0.25]))
    assert gates.tolist() == [pytest.approx((0.5 * 1 + 0.25 * 4) / 5)]  # and not 0/0


@pytest.mark.parametrize("rectified", [False, True])
def test_what_only_scales_is_told_from_what_does_not(rectified):
    torch.manual_seed(0)
    x = torch.randn(4, 64, 8, 8)
    x = x.relu() if rectified else x
    others = [attn.GC(64), attn.ExternalAttention(64), attn.SK(64, 64), attn.PSA(64, 64)]
    others += [attn.IEBN(64), attn.ShuffleAttention(64, groups=4)]
    gates = [attn.SE(64), attn.CBAM(64), attn.BAM(64), attn.NAM(64), attn.Triplet(64)]
    gates += [attn.SEM(64), attn.SimAM(64), attn.CoordAttention(64), attn.DIA()(64)]
    assert [is_scaled(x, stirred(m).eval()(x)) for m in gates] == [True] * len(gates)
    assert [is_scaled(x, stirred(m).eval()(x)) for m in others] == [False] * len(others)


def test_what_is_no_gate_is_left_out(seen):
    assert seen(stirred(attn.GC(32)), stirred(attn.SK(32, 32))).scalars() == {}
    x, attention = torch.ones(2, 4, 3, 3), GateStatistics()
    for args, output in [((x, x), x), ((x[:, :, :2],), x), (([x],), x), ((x,), [x]), (([x],), [x])]:
        attention.note("fusion", attn.Half(4), args, output)
    attention.note("flat", attn.Half(4), (x[0, 0],), x[0, 0])
    assert attention.scalars() == {}


def test_a_plain_network_is_not_even_run(seen, monkeypatch):
    monkeypatch.setattr(Net, "forward", None)
    assert seen(nn.Identity()).scalars() == {}


def test_modules_are_the_outermost_marked_ones_of_any_package():
    mine = type("Mine", (nn.Module,), {"__module__": "elsewhere.mine"})()
    found = dict(modules(Net(attn.CBAM(32), mine)))
    assert {name: type(module).__name__ for name, module in found.items()} == {
        "layer1.2": "CBAM", "layer2.1": "Mine",
    }  # fmt: skip


def test_sem_says_what_it_decides_layer_by_layer(seen):
    sure, unsure = attn.SEM(32), attn.SEM(32)
    for module, bias in ((sure, [9.0, 0.0, -9.0]), (unsure, [0.0] * 3)):
        nn.init.zeros_(module.decision.weight)
        module.decision.bias.data = torch.tensor(bias)
    attention = seen(sure, unsure)
    assert list(attention.decisions) == [("8x8", "layer1.2"), ("4x4", "layer2.1")]
    scalars = attention.scalars()
    assert scalars["decision/fc/8x8"] == pytest.approx(1, abs=1e-3)
    assert (scalars["decision/cnn/8x8"], scalars["decision/ie/4x4"]) == (0.5, 0.5)
    picture = attention.pictures()["decision/layer by layer: fc, cnn, ie"]
    assert picture.shape == (3, 2 * 12, 3 * 48)
    red, white, blue = (picture[:, 0, column].tolist() for column in (0, 48, 96))
    assert (red, white, blue) == ([1, 0, 0], [1, 1, 1], [0, 0, 1])


def test_hooks_do_not_outlive_the_look_nor_an_error(new_run, images):
    plain = new_run()
    run = Run(Net(attn.SE(32)), plain.recipe, plain.seeds, "cpu", "fp32")
    measure_gates(run, images, NORMALIZE)
    run.model.fc = nn.Linear(7, 3)
    with pytest.raises(RuntimeError):
        measure_gates(run, images, NORMALIZE)
    assert not any(module._forward_hooks for module in run.model.modules())


def trained(new_run, images, looking):
    torch.manual_seed(3)
    plain = new_run()
    attention = attn.SEM(32), attn.NAM(32)
    run = Run(Net(*attention), plain.recipe, plain.seeds, "cpu", "fp32")
    rows = []
    for _ in range(2):
        rows.append(train_epoch(run, images, NORMALIZE, lambda: None))
        if looking:
            assert measure_gates(run, images, NORMALIZE).scalars()
        rows.append(evaluate(run, images, NORMALIZE, lambda: None))
        run.next_epoch()
    return rows, run.model.state_dict(), torch.get_rng_state()


def test_looking_changes_nothing(new_run, images):
    (rows, weights, random), (other_rows, others, other_random) = (
        trained(new_run, images, looking) for looking in (False, True)
    )
    assert rows == other_rows
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert torch.equal(random, other_random)
