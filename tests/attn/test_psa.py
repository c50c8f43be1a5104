import math
from functools import partial

import pytest
import torch

from attn.psa import PSA


def strided(slow, name, x, stride, groups):
    """A grouped convolution, group by group; the result keeps every stride-th pixel."""
    weight, k = slow[f"{name}.weight"], len(x[0]) // groups
    per_group = len(weight) // groups
    y = [[] for _ in x]
    for g in range(groups):
        slow.state["group.weight"] = weight[g * per_group : (g + 1) * per_group]
        part = [image[g * k : (g + 1) * k] for image in x]
        for image, maps in zip(y, slow.conv("group", part), strict=True):
            image += [[row[::stride] for row in plane[::stride]] for plane in maps]
    return y


def formula(slow, x, stride, branch_groups):
    maps = [strided(slow, f"branches.{i}", x, stride, g) for i, g in enumerate(branch_groups)]
    gates = []
    for f in maps:
        hidden = slow.relu(slow.linear("se.0", slow.pooled(slow.mean, f)))
        gates.append([[slow.sigmoid(v) for v in row] for row in slow.linear("se.2", hidden)])
    n, channels, height, width = slow.shape(maps[0])

    def entry(n, c, h, w):
        i, c = divmod(c, channels)
        weights = [math.exp(gate[n][c]) for gate in gates]
        return weights[i] / sum(weights) * maps[i][n][c][h][w]

    return slow.build((n, channels * len(maps), height, width), entry)


CASES = [
    ({"kernel_sizes": (3, 5, 7, 9), "branch_groups": (1, 2, 1, 2)}, 1, 1),
    ({"kernel_sizes": (1, 3), "branch_groups": (2, 4)}, 2, 1),
    ({"kernel_sizes": (3, 5), "branch_groups": (1, 4)}, 1, 2),  # the network's 3x3 has groups
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("options", "stride", "groups"), CASES)
def test_is_the_papers_formula(is_formula, options, stride, groups, training):
    module = PSA(4, 8, stride, groups, **options, reduction=2)
    branch_groups = options["branch_groups"] if groups == 1 else [groups] * 2
    is_formula(module, partial(formula, stride=stride, branch_groups=branch_groups), training)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, training):
    module = PSA(4, 4, 2, kernel_sizes=(1, 3), branch_groups=(1, 2), reduction=1)
    gradients_are_numerical(module, training)


def test_the_squeeze_is_shared():
    names = [name for name, _ in PSA(64, 64).named_parameters()]
    assert [name for name in names if name.startswith("se")] == [
        "se.0.weight",
        "se.0.bias",
        "se.2.weight",
        "se.2.bias",
    ]


def test_convolutions_start_as_the_authors_do():
    torch.manual_seed(0)
    conv = PSA(256, 256).branches[2]
    assert conv.weight.std().item() == pytest.approx((2 / (49 * 64)) ** 0.5, rel=0.05)
    assert (conv.groups, conv.bias) == (8, None)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((64, 64), {"kernel_sizes": (2, 3, 5, 7)}, "must be odd and positive"),
        ((64, 64), {"kernel_sizes": (3, 5)}, "branch_groups=.1, 4, 8, 16. must be 2"),
        ((64, 66), {}, "do not divide 64 channels in, 66 out"),
        ((16, 16), {}, "do not divide 16 channels in, 16 out"),
        ((96, 96, 1, 96), {}, "do not divide 96 channels in, 96 out"),
        ((64, 64), {"reduction": 32}, "reduction=32 does not fit 16 channels"),
    ],
)
def test_what_does_not_divide_is_refused(args, options, message):
    with pytest.raises(ValueError, match=message):
        PSA(*args, **options)
