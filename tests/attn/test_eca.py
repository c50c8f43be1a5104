import pytest
import torch

from attn import ECA
from attn.eca import adaptive_kernel_size


def formula(slow, x):
    p = slow.pooled(slow.mean, x)
    (kernel,) = slow["conv.weight"][0]
    channels, half = len(x[0]), len(kernel) // 2

    def gate(n, c):
        taps = [(c + i - half, tap) for i, tap in enumerate(kernel)]
        return slow.sigmoid(sum(tap * p[n][at] for at, tap in taps if 0 <= at < channels))

    return slow.build(slow.shape(x), lambda n, c, h, w: gate(n, c) * x[n][c][h][w])


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, kernel_size, training):
    is_formula(ECA(4, kernel_size), formula, training)


def test_gradients_are_numerical(gradients_are_numerical):
    gradients_are_numerical(ECA(4, 3), training=True)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(16, 3), (32, 3), (64, 3), (96, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)],
)
def test_kernel_size_follows_eq_12(channels, expected):
    assert adaptive_kernel_size(channels) == expected
    assert ECA(channels).conv.weight.shape == (1, 1, expected)


@pytest.mark.parametrize(("stage", "expected"), [(1, 3), (2, 5), (3, 5), (4, 7)])
def test_kernel_size_by_stage(stage, expected):
    assert ECA(2048, (3, 5, 5, 7), stage).conv.kernel_size == (expected,)


def test_one_kernel_size_is_for_all_stages():
    assert {ECA(256, 9, stage).conv.kernel_size for stage in (None, 1, 4)} == {(9,)}


def test_k_is_all_there_is_to_learn():
    assert [p.numel() for p in ECA(2048).parameters()] == [7]


@pytest.mark.parametrize("kernel_size", [4, 0, -3])
def test_even_kernel_size_is_refused(kernel_size):
    with pytest.raises(ValueError, match=f"odd and positive, got {kernel_size}"):
        ECA(64, kernel_size)


def test_even_kernel_size_in_the_list_is_refused():
    with pytest.raises(ValueError, match="odd and positive, got 6"):
        ECA(64, (3, 6), stage=2)


@pytest.mark.parametrize("stage", [None, 3])
def test_stage_without_an_entry_is_refused(stage):
    with pytest.raises(ValueError, match=rf"kernel_size=\[3, 5\] has no entry for stage {stage}"):
        ECA(64, (3, 5), stage)


def test_a_channel_hears_its_neighbours_only():
    x = torch.rand(1, 8, 2, 2)
    louder = x.clone()
    louder[:, 0] += 1
    module = ECA(8, 3)
    changed = (module(louder) / louder != module(x) / x).any(-1).any(-1)
    assert changed[0].tolist() == [True] * 2 + [False] * 6
