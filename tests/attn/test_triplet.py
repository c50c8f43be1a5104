import pytest
import torch

from attn import Triplet

# For each gate: the axis of its pooling, and the axes of its kernel, in the order n, c, h, w.
AXES = {"cw": (2, (1, 3)), "ch": (3, (1, 2)), "hw": (1, (2, 3))}


def gate(slow, x, name):
    """g[n][i][j] = σ(BN(conv([max; mean]))) over the two axes that the gate is named after."""
    shape = slow.shape(x)
    pooled_over, (rows, columns) = AXES[name]

    def line(n, i, j):
        at = {0: n, rows: i, columns: j}
        places = [at | {pooled_over: k} for k in range(shape[pooled_over])]
        return [x[p[0]][p[1]][p[2]][p[3]] for p in places]

    pools = (max, slow.mean)
    plane = (shape[0], 2, shape[rows], shape[columns])
    pooled = slow.build(plane, lambda n, p, i, j: pools[p](line(n, i, j)))
    normed = slow.batch_norm(f"{name}.bn", slow.conv(f"{name}.conv", pooled), momentum=0.01)
    return [[[slow.sigmoid(v) for v in row] for row in image[0]] for image in normed]


def formula(names):
    def triplet(slow, x):
        gates = {name: gate(slow, x, name) for name in names}

        def entry(*at):
            values = (gates[m][at[0]][at[AXES[m][1][0]]][at[AXES[m][1][1]]] for m in names)
            return x[at[0]][at[1]][at[2]][at[3]] * sum(values) / len(names)

        return slow.build(slow.shape(x), entry)

    return triplet


@pytest.mark.parametrize("kernel_size", [7, 3])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, kernel_size, training):
    is_formula(Triplet(4, kernel_size), formula(("cw", "ch", "hw")), training)


@pytest.mark.parametrize("training", [True, False])
def test_without_the_spatial_gate_two_are_averaged(is_formula, training):
    is_formula(Triplet(4, spatial=False), formula(("cw", "ch")), training)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, training):
    gradients_are_numerical(Triplet(4, kernel_size=3), training)


def test_only_the_third_gate_starts_constant():
    x = torch.randn(2, 6, 5, 4)
    module = Triplet(6)
    assert torch.equal(module.hw(x), torch.full((2, 1, 5, 4), 0.5))
    assert module.cw(x).shape == (2, 6, 1, 4)
    assert module.ch(x).shape == (2, 6, 5, 1)
    assert module.cw(x).std() > 0.01
    assert module.ch(x).std() > 0.01


@pytest.mark.parametrize(("options", "expected"), [({}, 300), ({"spatial": False}, 200)])
def test_parameter_count_does_not_depend_on_the_channels(options, expected):
    for channels in (8, 2048):
        assert sum(p.numel() for p in Triplet(channels, **options).parameters()) == expected


@pytest.mark.parametrize("kernel_size", [4, 0, -7])
def test_even_kernel_size_is_refused(kernel_size):
    with pytest.raises(ValueError, match=f"odd and positive, got {kernel_size}"):
        Triplet(16, kernel_size)
