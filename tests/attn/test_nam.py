import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from attn import NAM


def weighted(slow, name, x):
    """σ(|γ|/Σ|γ| ⊙ BN(x))."""
    scale = [abs(v) for v in slow[f"{name}.weight"]]
    normed = slow.batch_norm(name, x)
    return slow.build(
        slow.shape(x),
        lambda n, c, h, w: slow.sigmoid(scale[c] / sum(scale) * normed[n][c][h][w]),
    )


def channel_gate(slow, x):
    gate = weighted(slow, "channel.bn", x)
    return slow.build(slow.shape(x), lambda n, c, h, w: gate[n][c][h][w] * x[n][c][h][w])


def spatial_gate(slow, x):
    n, channels, height, width = slow.shape(x)
    pixels = slow.build(
        (n, height * width, channels, 1), lambda n, p, c, _: x[n][c][p // width][p % width]
    )
    gate = weighted(slow, "spatial.bn", pixels)
    return slow.build(
        slow.shape(x), lambda n, c, h, w: gate[n][h * width + w][c][0] * x[n][c][h][w]
    )


def by_autograd(module, x, detached):
    """The channel gate written again; its weights are constant or part of the graph."""
    bn = module.channel.bn
    scale = bn.weight.detach() if detached else bn.weight
    w = (scale.abs() / scale.abs().sum())[:, None, None]
    statistics = (bn.running_mean.clone(), bn.running_var.clone())
    y = F.batch_norm(x, *statistics, bn.weight, bn.bias, training=module.training)
    return x * (w * y).sigmoid()


def gradients(y, *inputs):
    """The gradients of a sum with uneven weights, so that none cancels by symmetry."""
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    return torch.autograd.grad((y * weights).sum(), inputs)


@pytest.mark.parametrize("training", [True, False])
def test_channel_gate_is_the_authors_formula(is_formula, training):
    is_formula(NAM(4), channel_gate, training)


@pytest.mark.parametrize("training", [True, False])
def test_spatial_gate_follows_the_channel_gate(is_formula, training):
    is_formula(
        NAM(4, spatial=True, size=(3, 5)),
        lambda slow, x: spatial_gate(slow, channel_gate(slow, x)),
        training,
    )


@pytest.mark.parametrize("training", [True, False])
def test_no_gradient_flows_through_the_weights(randomize, x, training):
    module = randomize(NAM(4)).train(training)
    inputs = (x.requires_grad_(), *module.parameters())
    ours = gradients(module(x), *inputs)
    constant = gradients(by_autograd(module, x, detached=True), *inputs)
    torch.testing.assert_close(ours, constant, rtol=0, atol=1e-12)
    flowing = gradients(by_autograd(module, x, detached=False), *inputs)
    assert (ours[1] - flowing[1]).abs().max() > 1e-2
    torch.testing.assert_close(ours[2], flowing[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_spatial_gate_is_the_channel_gate_with_pixels_for_channels(randomize, x, training):
    """So the spatial gate's gradients, too, treat the weights as constant."""
    height_width = x.shape[2:]
    spatial = randomize(NAM(4, spatial=True, size=height_width)).train(training).spatial
    transposed = NAM(15).double().train(training)
    transposed.channel.bn.load_state_dict(spatial.bn.state_dict())
    pixels = x.flatten(2).transpose(1, 2)[..., None].contiguous().requires_grad_()
    expected = by_autograd(transposed, pixels, detached=True)[..., 0].transpose(1, 2)
    expected = expected.reshape(x.shape)
    y = spatial(x.requires_grad_())
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    on_x, *ours = gradients(y, x, *spatial.parameters())
    on_pixels, *theirs = gradients(expected, pixels, *transposed.parameters())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    on_pixels = on_pixels[..., 0].transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(on_x, on_pixels, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "size"), [("channel", None), ("spatial", (6, 6))])
def test_gate_starts_at_one_half_give_or_take_one_cth(name, size):
    """|logit| = |x̂|/C and σ' ≤ 1/4: as long as |x̂| < 4, the gate moves by less than 1/C."""
    x = torch.randn(8, 32, 6, 6).clamp(-3, 3)
    module = getattr(NAM(32, spatial=size is not None, size=size), name)
    gate = module(x) / x
    assert (gate - 0.5).abs().max() < 1 / module.bn.num_features
    assert gate.std() > 0


def test_penalty_is_the_sum_of_absolute_scales(randomize):
    module = randomize(NAM(4))
    assert module.penalty().item() == sum(abs(v) for v in module.channel.bn.weight.tolist())


def test_penalty_counts_the_pixels_too(randomize):
    module = randomize(NAM(4, spatial=True, size=(3, 5)))
    both = [*module.channel.bn.weight.tolist(), *module.spatial.bn.weight.tolist()]
    assert module.penalty().item() == pytest.approx(sum(map(abs, both)), abs=1e-12)


def test_penalty_pulls_by_the_sign_of_the_scale_and_at_nothing_else(randomize):
    module = randomize(NAM(4, spatial=True, size=(3, 5)))
    module.penalty().backward()
    for bn in (module.channel.bn, module.spatial.bn):
        assert torch.equal(bn.weight.grad, bn.weight.detach().sign())
        assert bn.bias.grad is None


def test_spatial_without_a_size_is_refused():
    with pytest.raises(ValueError, match=r"spatial=True .* say the map's size=\(H, W\)"):
        NAM(16, spatial=True)


@pytest.mark.parametrize(("size", "expected"), [(None, 128), ((4, 8), 192)])
def test_parameter_count(size, expected):
    module = NAM(64, spatial=size is not None, size=size)
    assert sum(p.numel() for p in module.parameters()) == expected


def test_folding_leaves_the_batch_norm_as_it_was(randomize, x):
    module = randomize(NAM(4)).train()
    before = [p.clone() for p in module.parameters()]
    module(x)
    assert module.channel.bn.num_batches_tracked == 1
    assert all(map(torch.equal, before, module.parameters()))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("track", [True, False])
def test_the_norm_may_average_in_each_way_that_torch_has(training, momentum, track):
    gate = NAM(8).channel
    gate.bn = nn.BatchNorm2d(8, momentum=momentum, track_running_stats=track)
    nn.init.normal_(gate.bn.weight)
    gate.train(training)
    norm, x = copy.deepcopy(gate.bn), torch.randn(4, 8, 3, 3)
    w = gate.bn.weight.abs() / gate.bn.weight.abs().sum()
    torch.testing.assert_close(gate(x), x * (w[:, None, None] * norm(x)).sigmoid())
    for one, other in zip(gate.bn.buffers(), norm.buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("training", [True, False])
def test_the_norm_may_be_frozen(randomize, training):
    gate, x = randomize(NAM(8)).eval().channel, torch.randn(4, 8, 3, 3).double()
    expected, frozen = gate(x), FrozenBatchNorm2d(8).double()
    frozen.load_state_dict(gate.bn.state_dict(), strict=False)
    gate.bn = frozen
    torch.testing.assert_close(gate.train(training)(x), expected)
