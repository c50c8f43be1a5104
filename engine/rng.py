"""Random numbers as a function of seed, epoch and sample, instead of a stream.

The order of the images and what happens to each do not depend on batch size, on the device, or on
where a run was interrupted. The generator is SplitMix64 (Steele, Lea, Flood, 2014): in int64, whose
products wrap as they should, for many numbers on any device, and in Python's integers for one.
"""

import torch
from torch import Tensor

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
WORD = (1 << 64) - 1


def _signed(word: int) -> int:
    word &= WORD
    return word - (1 << 64) if word >> 63 else word


def _shifted(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def mix(z: Tensor) -> Tensor:
    """The output of SplitMix64 for each state in `z`: a bijection of int64."""
    z = z + _signed(GOLDEN)
    z = (z ^ _shifted(z, 30)) * _signed(FIRST)
    z = (z ^ _shifted(z, 27)) * _signed(SECOND)
    return z ^ _shifted(z, 31)


def fold_in(*parts: int) -> int:
    """One int64 from several integers; another order gives another number."""
    state = 0
    for part in parts:
        state = _mixed(state + part)
    return _signed(state)


def _mixed(z: int) -> int:
    """`mix` of one number from 0 to 2^64 - 1; as tensors, its ten operations take longer."""
    z = (z + GOLDEN) & WORD
    z = ((z ^ (z >> 30)) * FIRST) & WORD
    z = ((z ^ (z >> 27)) * SECOND) & WORD
    return z ^ (z >> 31)


def uniform(seed: int, epoch: int, samples: Tensor, draws: int) -> Tensor:
    """`draws` numbers in [0, 1) for each sample: (N,) int64 -> (N, draws) float32."""
    return uniform_from(samples + fold_in(seed, epoch), draws)


def uniform_from(keys: Tensor, draws: int) -> Tensor:
    """`draws` numbers in [0, 1) from the key of each sample: (N,) int64 -> (N, draws) float32."""
    of_sample = mix(keys)
    counter = torch.arange(draws, device=keys.device)
    return _shifted(mix(of_sample[:, None] + counter), 40).float() * 2.0**-24


def permutation(seed: int, epoch: int, n: int, device: torch.device | str = "cpu") -> Tensor:
    """The order of n samples in one epoch, (n,) int64."""
    return mix(torch.arange(n, device=device) + fold_in(seed, epoch, n)).argsort(stable=True)
