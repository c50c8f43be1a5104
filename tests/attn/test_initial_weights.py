"""The initial weights of each layer have the distribution of the authors' code.

A layer starts at a constant or has one of three distributions: `torch_default` (the authors keep
torch's initial values), `kaiming` or `xavier`.
"""

import math

import pytest
import torch

from attn import BAM, CBAM, GC, MSCAM, ExternalAttention

CHANNELS, HIDDEN = 512, 32


def normal(deviation):
    """The standard deviation and the kurtosis of a distribution."""
    return deviation, 3.0


def torch_default(fan_in):
    """U(±1/√fan_in) of nn.Linear and nn.Conv2d."""
    return math.sqrt(1 / (3 * fan_in)), 1.8


def kaiming(fan):
    """N(0, 2/fan)."""
    return normal(math.sqrt(2 / fan))


def xavier(fan_in, fan_out, slope):
    """N(0, gain² · 2/(fan_in + fan_out)), with the gain of a leaky ReLU."""
    return normal(math.sqrt(2 / (1 + slope**2) * 2 / (fan_in + fan_out)))


CONTEXT = {  # Dai et al., 2021: MSRAPrelu of MXNet, over the average of fan-in and fan-out
    "0.weight": xavier(CHANNELS, HIDDEN, 0.25), "0.bias": 0.0, "1.weight": 1.0, "1.bias": 0.0,
    "3.weight": xavier(HIDDEN, CHANNELS, 0.25), "3.bias": 0.0, "4.weight": 1.0, "4.bias": 0.0,
}  # fmt: skip
START = {
    # MODELS/model_resnet.py: "conv" in a name: Kaiming, fan-out; SpatialGate's norm: 0; biases: 0
    "cbam": (CBAM, {
        "gates.channel.mlp.0.weight": torch_default(CHANNELS), "gates.channel.mlp.0.bias": 0.0,
        "gates.channel.mlp.2.weight": torch_default(HIDDEN), "gates.channel.mlp.2.bias": 0.0,
        "gates.spatial.conv.weight": kaiming(49),
        "gates.spatial.bn.weight": 0.0, "gates.spatial.bn.bias": 0.0,
    }),
    # the same file; no fully connected layer has "conv" in its name
    "bam": (BAM, {
        "channel.fc1.weight": torch_default(CHANNELS), "channel.fc1.bias": 0.0,
        "channel.bn.weight": 1.0, "channel.bn.bias": 0.0,
        "channel.fc2.weight": torch_default(HIDDEN), "channel.fc2.bias": 0.0,
        "spatial.0.weight": kaiming(HIDDEN), "spatial.0.bias": 0.0,
        "spatial.1.weight": 1.0, "spatial.1.bias": 0.0,
        "spatial.3.weight": kaiming(9 * HIDDEN), "spatial.3.bias": 0.0,
        "spatial.4.weight": 1.0, "spatial.4.bias": 0.0,
        "spatial.6.weight": kaiming(9 * HIDDEN), "spatial.6.bias": 0.0,
        "spatial.7.weight": 1.0, "spatial.7.bias": 0.0,
        "spatial.9.weight": kaiming(1), "spatial.9.bias": 0.0,
    }),
    # context_block.py: kaiming_init(conv_mask, mode="fan_in"), last_zero_init
    "gc": (GC, {
        "pool.mask.weight": kaiming(CHANNELS), "pool.mask.bias": 0.0,
        "fusions.add.0.weight": torch_default(CHANNELS),
        "fusions.add.0.bias": torch_default(CHANNELS),
        "fusions.add.1.weight": 1.0, "fusions.add.1.bias": 0.0,
        "fusions.add.3.weight": 0.0, "fusions.add.3.bias": 0.0,
    }),
    # ExternalAttention.py: init.normal_(m.weight, std=0.001)
    "ea": (ExternalAttention, {"key.weight": normal(0.001), "value.weight": normal(0.001)}),
    "mscam": (MSCAM, {
        f"{part}.{name}": start
        for part in ("local_context", "global_context") for name, start in CONTEXT.items()
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", START)
def test_every_layer_starts_as_in_the_authors_code(name):
    build, start = START[name]
    torch.manual_seed(0)
    ten = [dict(build(CHANNELS).named_parameters()) for _ in range(10)]  # small layers vary more
    assert ten[0].keys() == start.keys()
    for key, expected in start.items():
        weights = torch.stack([found[key].detach() for found in ten])
        if isinstance(expected, float):
            assert weights.eq(expected).all(), key
            continue
        (deviation, kurtosis), count = expected, weights.numel()
        assert weights.std().item() == pytest.approx(deviation, rel=4 / math.sqrt(2 * count)), key
        assert abs(weights.mean().item()) < 4 * deviation / math.sqrt(count), key
        if count > 1000:
            shape = (weights**4).mean().item() / deviation**4
            assert shape == pytest.approx(kurtosis, abs=0.5), key
