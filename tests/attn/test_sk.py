import math
from functools import partial

import pytest
import torch
from torch import nn

from attn.sk import SK


def strided(slow, name, x, stride, groups, dilation):
    """A grouped convolution, group by group; the result keeps every stride-th pixel."""
    weight, k = slow[f"{name}.weight"], len(x[0]) // groups
    per_group = len(weight) // groups
    y = [[] for _ in x]
    for g in range(groups):
        slow.state["group.weight"] = weight[g * per_group : (g + 1) * per_group]
        part = [image[g * k : (g + 1) * k] for image in x]
        for image, maps in zip(y, slow.conv("group", part, dilation), strict=True):
            image += [[row[::stride] for row in plane[::stride]] for plane in maps]
    return y


def formula(slow, x, stride, groups, branches):
    maps = []
    for i in range(branches):
        u = strided(slow, f"branches.{i}.0", x, stride, groups, dilation=i + 1)
        maps.append(slow.relu(slow.batch_norm(f"branches.{i}.1", u)))
    total = slow.build(slow.shape(maps[0]), lambda n, c, h, w: sum(u[n][c][h][w] for u in maps))
    squeezed = slow.linear("squeeze", slow.pooled(slow.mean, total))
    normalized = slow.batch_norm("bn", [[[[v]] for v in row] for row in squeezed])
    logits = slow.linear("select", [[slow.relu(v[0][0]) for v in row] for row in normalized])
    channels = len(total[0])

    def entry(n, c, h, w):
        exps = [math.exp(logits[n][i * channels + c]) for i in range(branches)]
        return sum(e * u[n][c][h][w] for e, u in zip(exps, maps, strict=True)) / sum(exps)

    return slow.build(slow.shape(total), entry)


CASES = [
    {"stride": 1, "groups": 1, "branches": 2},
    {"stride": 2, "groups": 2, "branches": 2},
    {"stride": 1, "groups": 4, "branches": 3},
]


@pytest.fixture
def x():
    return torch.randn(3, 4, 3, 4, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_is_the_papers_formula(is_formula, case, training):
    module = SK(4, 8, **case, reduction=2, min_channels=3)
    is_formula(module, partial(formula, **case), training)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, training):
    gradients_are_numerical(SK(4, 4, 2, 2, reduction=2, min_channels=1), training)


@pytest.mark.parametrize(
    ("channels", "stage", "hidden"),
    [(128, 1, 32), (256, 2, 32), (512, 3, 32), (1024, 4, 64), (8, 1, 32)],
)
def test_z_is_never_narrower_than_the_paper_allows(channels, stage, hidden):
    assert SK(channels, channels, stage=stage).squeeze.out_features == hidden


def test_least_width_may_be_given_by_stage():
    build = partial(SK, 256, 256, min_channels=(32, 16, 32, 32))
    assert [build(stage=s).squeeze.out_features for s in (1, 2, 3)] == [32, 16, 32]
    for stage in (None, 5):
        with pytest.raises(ValueError, match=f"has no entry for stage {stage}"):
            build(stage=stage)


def test_layers_start_as_the_authors_do():
    torch.manual_seed(0)
    module = SK(256, 256, groups=32)
    for layer in (module.squeeze, module.select):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert layer.bias is None
    conv = module.branches[1][0]
    assert conv.weight.std().item() == pytest.approx((2 / (8 * 9)) ** 0.5, rel=0.05)
    assert (conv.dilation, conv.padding, conv.groups) == ((2, 2), (2, 2), 32)


def test_weights_of_the_branches_sum_to_one():
    module = SK(8, 8, min_channels=4).eval()
    for branch in module.branches:
        branch[2] = nn.Threshold(-1e9, 1.0)
        nn.init.zeros_(branch[1].weight)
        nn.init.constant_(branch[1].bias, 3.0)
    torch.testing.assert_close(module(torch.randn(2, 8, 5, 5)), torch.full((2, 8, 5, 5), 3.0))


@pytest.mark.parametrize("options", [{"branches": 0}, {"reduction": 0}])
def test_nonsense_is_refused(options):
    with pytest.raises(ValueError, match="must be positive: branches="):
        SK(64, 64, **options)
