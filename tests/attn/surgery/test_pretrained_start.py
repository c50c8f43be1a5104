"""A gate that starts at a constant leaves a trained network as it is, with the fitting gain."""

import inspect
import math

import pytest
import torch
import torchvision
from torch.nn.modules.batchnorm import _BatchNorm

import attn
import models
from attn import attach, detach
from engine.datasets.folder import read
from engine.transforms.normalize import Normalize

GAINS = {"half": 2, "scalar": 2, "srm": 2, "ie": 1 + math.e, "constant": 1, "gc": 1}


@pytest.fixture(scope="module")
def images(sample):
    """Eight photographs (8, 3, 96, 96), normalized."""
    files = sorted(sample.glob("*/*.JPEG"))[::10][:8]
    return Normalize("imagenet")(torch.stack([torch.from_numpy(read(f, 96)) for f in files]))


@pytest.fixture(scope="module")
def trained(images):
    """A ResNet-18 of torchvision with fixed weights; its batch norms have seen the photographs."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18()
    for norm in (module for module in net.modules() if isinstance(module, _BatchNorm)):
        norm.momentum = None  # the average over all batches
    with torch.no_grad():
        for _ in range(2):
            net.train()(images)
    return net.eval()


@torch.no_grad()
def logits_with(net, name, images, gain):
    attach(net, attn.names()[name].factory(), gain=gain)
    try:
        return net.eval()(images)
    finally:
        detach(net)


@pytest.mark.parametrize(("name", "gain"), GAINS.items())
def test_the_fitting_gain_keeps_the_logits_on_photographs(trained, images, name, gain):
    before = trained(images).detach()
    torch.testing.assert_close(logits_with(trained, name, images, gain), before)
    if gain != 1:
        without = logits_with(trained, name, images, 1)
        assert (without - before).abs().max() > 0.1 * before.abs().max()


def test_a_gain_of_two_brings_nam_near_the_trained_network(trained, images):
    before = trained(images).detach()
    errors = [(logits_with(trained, "nam", images, g) - before).norm() for g in (1, 2)]
    assert errors[1] < errors[0] / 4
    assert errors[1] > 1e-4 * before.norm(), "NAM's gate depends on the image from the start"


@torch.no_grad()
def test_no_other_gate_starts_at_a_constant():
    x = torch.randn(4, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    for name, mechanism in attn.names().items():
        if mechanism.slot != "site" or name in ("none", "shuffle"):  # shuffle: not of 64 channels
            continue
        factory = mechanism.factory()
        facts = {"stage": 1, "size": (8, 8)}
        told = {key: facts[key] for key in facts if key in inspect.signature(factory).parameters}
        gate = factory(64, **told).eval()(x) / x
        assert (gate.max() - gate.min() < 1e-5) == (name in GAINS), name


@pytest.mark.parametrize("name", ["half", "srm"])
def test_the_same_in_a_network_with_slots(trained, images, name, tmp_path):
    """Loaded from a file, as `model.weights=` and `gain=2` do."""
    torch.save(trained.state_dict(), tmp_path / "x.pth")
    slots = models.Slots(attn.names()[name].factory(), ["branch"], gain=attn.WithGain(2))
    net = models.resnet18(slots=slots, weights=str(tmp_path / "x.pth")).eval()
    with torch.no_grad():
        torch.testing.assert_close(net(images), trained(images))
