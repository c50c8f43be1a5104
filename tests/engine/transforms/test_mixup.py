import pytest
import torch
from torch.nn import functional as F

from engine.rng import fold_in
from engine.transforms.mixup import mixed, paste

LABELS = torch.tensor([0, 1, 2, 3, 1, 0])


def images(n=6, height=8, width=8):
    return torch.arange(n * 3 * height * width, dtype=torch.float64).view(n, 3, height, width)


def test_without_mixing_nothing_is_touched():
    before = images()
    after, targets = mixed(before, LABELS, 4, mixup=0.0, cutmix=0.0, seed=1)
    assert after is before
    assert targets is LABELS


@pytest.mark.parametrize("seed", range(5))
def test_mixup_mixes_image_and_target_alike(seed):
    before = images()
    after, targets = mixed(before, LABELS, 4, mixup=0.4, cutmix=0.0, seed=seed)
    share = (after[1] - before[0]).mean() / (before[1] - before[0]).mean()
    assert 0 <= share <= 1
    for i in range(6):
        torch.testing.assert_close(after[i], share * before[i] + (1 - share) * before[i - 1])
        a, b = F.one_hot(LABELS[i], 4), F.one_hot(LABELS[i - 1], 4)
        torch.testing.assert_close(targets[i].double(), share * a + (1 - share) * b)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_weighs_the_targets_by_the_pixels(seed):
    before = images(height=12)
    after, targets = mixed(before, LABELS, 4, mixup=0.0, cutmix=1.0, seed=seed)
    own, other = after == before, after == before.roll(1, 0)
    assert (own ^ other).all()
    share = own[0, 0].double().mean()
    assert own.double().mean((1, 2, 3)).allclose(share)
    a, b = F.one_hot(LABELS, 4), F.one_hot(LABELS.roll(1), 4)
    torch.testing.assert_close(targets.double(), share * a + (1 - share) * b)


@pytest.mark.parametrize(("share", "y", "x"), [(0.75, 0.5, 0.5), (0.0, 0.0, 0.9), (0.3, 0.99, 0.1)])
def test_the_box_is_cut_at_the_border(share, y, x):
    before = images()
    after, left = paste(before, share, y, x)
    side = int(8 * (1 - share) ** 0.5) // 2
    inside = torch.zeros(8, 8, dtype=torch.bool)
    for row in range(8):
        for column in range(8):
            inside[row, column] = (
                int(y * 8) - side <= row < int(y * 8) + side
                and int(x * 8) - side <= column < int(x * 8) + side
            )
    assert after.equal(torch.where(inside, before.roll(1, 0), before))
    assert left == pytest.approx(1 - inside.double().mean())


def test_all_is_a_function_of_the_seed_and_leaves_torchs_own_stream_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    of = lambda seed: mixed(images(), LABELS, 4, 0.3, 1.0, fold_in(5, seed))  # noqa: E731
    first, again = [of(seed) for seed in range(20)], [of(seed) for seed in reversed(range(20))]
    for (pixels, targets), (others, same) in zip(first, again[::-1], strict=True):
        assert pixels.equal(others)
        assert targets.equal(same)
    assert len({pixels.numpy().tobytes() for pixels, _ in first}) >= 18  # a box may be empty
    assert torch.get_rng_state().equal(state)


def test_shares_are_of_the_beta_distribution_and_both_kinds_come_equally_often():
    before = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    labels = torch.tensor([0, 1])
    keys = [fold_in(0, i) for i in range(2000)]
    shares = torch.tensor([mixed(before, labels, 2, 0.2, 0.0, k)[1][0, 0].item() for k in keys])
    assert shares.mean() == pytest.approx(0.5, abs=0.05)
    assert shares.var() == pytest.approx(0.25 / 1.4, abs=0.02)  # the variance of Beta(0.2, 0.2)
    pixels = [mixed(images(2), labels, 2, 1.0, 1.0, fold_in(0, s))[0][0, 0] for s in range(400)]
    both = torch.cat([images(2)[0, 0].flatten(), images(2)[1, 0].flatten()])
    cut = sum(bool(torch.isin(p.flatten(), both).all()) for p in pixels)
    assert 160 < cut < 240
