import torch

from engine.rng import fold_in, mix, permutation, uniform


def splitmix64(state):
    """The published generator on Python's unbounded integers."""
    word = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & word
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
    return z ^ (z >> 31)


def test_mix_is_splitmix64():
    states = torch.tensor([0, 1, -1, 2**62, -(2**63), 123456789])
    expected = [splitmix64(int(s) % 2**64) for s in states]
    assert [int(z) % 2**64 for z in mix(states)] == expected
    assert expected[0] == 16294208416658607535  # the first output of seed 0, as published


def test_permutation_holds_every_sample_once():
    assert permutation(3, 7, 1000).sort().values.equal(torch.arange(1000))


def test_permutation_depends_on_seed_and_epoch():
    orders = [permutation(*at, 100) for at in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_numbers_of_a_sample_do_not_depend_on_its_batch():
    every = uniform(5, 2, torch.arange(50), 3)
    some = uniform(5, 2, torch.tensor([40, 7, 8]), 3)
    assert some.equal(every[[40, 7, 8]])


def test_uniform_fills_the_interval_evenly():
    numbers = uniform(0, 0, torch.arange(20_000), 2)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, 10, 0, 1)
    assert (counts - 4000).abs().max() < 6 * 4000**0.5
    assert abs(torch.corrcoef(numbers.T)[0, 1]) < 0.03


def test_key_tells_the_order_of_its_parts():
    assert fold_in(1, 2) != fold_in(2, 1)
    assert fold_in(1, 2) == fold_in(1, 2)


def test_key_is_mix_of_each_part_added_to_what_was_before():
    parts = [(0,), (3, 7), (-1, 2**63 - 1), (2**40, -(2**63), 5)]
    for some in parts:
        state = torch.zeros((), dtype=torch.int64)
        for part in some:
            state = mix(state + part)
        assert fold_in(*some) == int(state)
    assert any(fold_in(*some) < 0 for some in parts)
    assert fold_in(0) == 16294208416658607535 - 2**64  # the first output of seed 0, as published
