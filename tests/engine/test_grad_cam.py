"""Grad-CAM equals plain loops, CAM where both agree, and pytorch-grad-cam."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.errors import ConfigError
from engine.grad_cam import grad_cam


class Net(nn.Module):
    """Two maps, an in-place ReLU between them; the weights are sines, not random."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 5, 3, 2, padding=1)
        self.head = nn.Tanh()
        self.unused = nn.Conv2d(1, 1, 1)
        self.fc1 = nn.Linear(5, 7)
        self.fc2 = nn.Linear(7, 4)
        for i, tensor in enumerate(self.parameters()):
            tensor.data = waves(tensor.shape, 1.7 + i)
        self.bn1.running_mean = waves((6,), 0.3)

    def forward(self, x):
        x = self.head(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.fc2(self.fc1(x.mean((2, 3))).tanh())


def waves(shape, frequency):
    return torch.sin(frequency * torch.arange(1.0, 1 + torch.Size(shape).numel())).view(shape)


IMAGES = waves((3, 3, 6, 8), 0.37)
TARGETS = torch.tensor([0, 3, 2])


def maps_and_logits(net, layer, images):
    """The layer's output before the in-place ReLU, and the function from it to the logits."""
    if layer == "bn1":
        maps = net.bn1(net.conv1(images))
        return maps, lambda m: net.fc2(
            net.fc1(torch.tanh(net.conv2(F.relu(m))).mean((2, 3))).tanh()
        )
    maps = net.head(net.conv2(F.relu(net.bn1(net.conv1(images)))))
    return maps, lambda m: net.fc2(net.fc1(m.mean((2, 3))).tanh())


@pytest.mark.parametrize("layer", ["bn1", "head"])
def test_it_is_the_formula(layer):
    net, images = Net().double().eval(), IMAGES.double()
    found = grad_cam(net, images, layer, TARGETS)
    for n, target in enumerate(TARGETS):
        maps, after = maps_and_logits(net, layer, images[n : n + 1])
        maps = maps.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(after(maps)[0, target], maps)
        heat = torch.zeros(maps.shape[2:], dtype=torch.float64)
        for k in range(maps.shape[1]):
            alpha = sum(g for row in gradient[0, k] for g in row) / gradient[0, k].numel()
            heat += alpha * maps[0, k].detach()
        heat = enlarged(heat.clamp(min=0), images.shape[2:])
        torch.testing.assert_close(found[n], heat / heat.max())


def enlarged(heat, size):
    """Bilinear; pixels are squares, and a new center lies between four old centers."""
    (h, w), new = heat.shape, torch.empty(size, dtype=heat.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            y = min(max((i + 0.5) * h / size[0] - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / size[1] - 0.5, 0), w - 1)
            top, left = min(int(y), h - 1), min(int(x), w - 1)
            below, right = min(top + 1, h - 1), min(left + 1, w - 1)
            dy, dx = y - top, x - left
            upper = (1 - dx) * heat[top, left] + dx * heat[top, right]
            lower = (1 - dx) * heat[below, left] + dx * heat[below, right]
            new[i, j] = (1 - dy) * upper + dy * lower
    return new


def test_it_is_what_pytorch_grad_cam_draws():
    torch.testing.assert_close(
        grad_cam(Net(), IMAGES, "head", TARGETS), PUBLISHED, atol=1e-4, rtol=0
    )


def test_before_pooling_and_a_linear_layer_it_is_cam():
    """Zhou et al. (2016): the weights of the maps are the class's row in the last layer."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    heat = torch.einsum("nkhw,nk->nhw", net[0](IMAGES), net[3].weight[TARGETS]).relu()
    heat = F.interpolate(heat[:, None], (6, 8), mode="bilinear")[:, 0].detach()
    found = grad_cam(net, IMAGES, "0", TARGETS)
    torch.testing.assert_close(found, heat / heat.amax((1, 2), keepdim=True))


def test_values_lie_between_0_and_1_and_images_do_not_see_each_other():
    found = grad_cam(Net(), IMAGES, "head", TARGETS)
    assert found.shape == (3, 6, 8)
    assert found.min() >= 0
    assert (found.amax((1, 2)) == 1).all()
    alone = [grad_cam(Net(), IMAGES[n : n + 1], "head", TARGETS[n : n + 1])[0] for n in range(3)]
    torch.testing.assert_close(found, torch.stack(alone))


def test_where_nothing_speaks_for_the_class_the_map_is_0():
    net = Net()
    nn.init.zeros_(net.fc2.weight)
    assert not grad_cam(net, IMAGES, "head", TARGETS).any()


@pytest.mark.parametrize("layer", ["head", "fc1"])  # fc1 is refused
def test_the_model_is_left_as_it_was_found(layer):
    net = Net()
    net.bn1.eval()
    net.fc1.weight.requires_grad_(False)
    net.conv1.weight.grad = torch.ones_like(net.conv1.weight)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad(), pytest.raises(ConfigError) if layer == "fc1" else nullcontext():
        grad_cam(net, IMAGES, layer, TARGETS)
    assert (net.training, net.head.training, net.bn1.training) == (True, True, False)
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["conv1.weight"]
    assert (net.conv1.weight.grad == 1).all()
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["fc1.weight"]
    assert not any(module._forward_hooks for module in net.modules())
    assert all(tensor.equal(before[name]) for name, tensor in net.state_dict().items())


def test_frozen_weights_and_bf16_are_no_obstacle():
    net = Net().requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        found = grad_cam(net, IMAGES, "head", TARGETS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, PUBLISHED, atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("haed", "layer=haed: there is no such module; did you mean head?"),
        ("xyz", "there are conv1, bn1, relu, conv2, head, unused, fc1, fc2"),
        ("fc1", "layer=fc1 gives no map"),
        ("unused", "layer=unused: this network does not use it"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(layer, message):
    with pytest.raises(ConfigError, match=message):
        grad_cam(Net(), IMAGES, layer, TARGETS)


# grad-cam 1.5.7 (pytorch_grad_cam), with torch 2.15 and opencv-python-headless 5.0.0.93:
# GradCAM(net, [net.head])(IMAGES, [ClassifierOutputTarget(int(t)) for t in TARGETS])
# pytorch_grad_cam also shifts each map's minimum to 0; here all minima are 0 already.
PUBLISHED = torch.tensor(
    [
        [
            [0.0000, 0.0933, 0.2798, 0.3661, 0.3523, 0.5091, 0.8364, 1.0000],
            [0.0000, 0.0918, 0.2754, 0.3552, 0.3313, 0.4270, 0.6423, 0.7500],
            [0.0000, 0.0889, 0.2666, 0.3334, 0.2892, 0.2628, 0.2543, 0.2500],
            [0.0000, 0.1263, 0.3788, 0.4660, 0.3881, 0.2618, 0.0873, 0.0000],
            [0.0000, 0.2039, 0.6118, 0.7532, 0.6279, 0.4239, 0.1413, 0.0000],
            [0.0000, 0.2428, 0.7284, 0.8967, 0.7478, 0.5050, 0.1683, 0.0000],
        ],
        [
            [0.7344, 0.7992, 0.9290, 0.9959, 1.0000, 0.9925, 0.9733, 0.9637],
            [0.6331, 0.6736, 0.7547, 0.7994, 0.8079, 0.8241, 0.8483, 0.8603],
            [0.4305, 0.4224, 0.4060, 0.4064, 0.4236, 0.4875, 0.5982, 0.6535],
            [0.3369, 0.2900, 0.1963, 0.1575, 0.1736, 0.2718, 0.4521, 0.5423],
            [0.3522, 0.2766, 0.1254, 0.0525, 0.0579, 0.1771, 0.4101, 0.5267],
            [0.3599, 0.2699, 0.0900, 0.0000, 0.0000, 0.1297, 0.3891, 0.5188],
        ],
        [
            [0.4956, 0.5684, 0.7140, 0.7365, 0.6360, 0.6391, 0.7458, 0.7991],
            [0.3717, 0.4561, 0.6248, 0.6669, 0.5824, 0.5549, 0.5845, 0.5994],
            [0.1239, 0.2314, 0.4464, 0.5276, 0.4751, 0.3865, 0.2620, 0.1998],
            [0.0000, 0.1545, 0.4636, 0.5935, 0.5442, 0.3896, 0.1299, 0.0000],
            [0.0000, 0.2255, 0.6764, 0.8645, 0.7897, 0.5642, 0.1881, 0.0000],
            [0.0000, 0.2609, 0.7828, 1.0000, 0.9124, 0.6514, 0.2171, 0.0000],
        ],
    ]
)
