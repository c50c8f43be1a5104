import os

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import models
from attn import NAM
from models.pretrained import load_pretrained


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return torchvision.models.resnet18().state_dict()


@pytest.fixture
def file(theirs, tmp_path):
    torch.save(theirs, tmp_path / "resnet18.pth")
    return str(tmp_path / "resnet18.pth")


def same(net, theirs, keys):
    return all(net.state_dict()[key].equal(theirs[key]) for key in keys)


def test_a_backbone_gets_every_weight_and_attention_is_new(file, theirs):
    net = models.resnet18(slots=models.Slots(NAM, ["branch"]))
    report = load_pretrained(net, file)
    assert same(net, theirs, theirs)
    assert len(report.new) == 8 * 5  # γ, β and three statistics of each of the eight BNs
    assert all(".branch." in key for key in report.new)
    assert (report.unexpected, report.other_shape) == ((), ())


def test_a_classifier_for_other_classes_stays_as_it_was(file, theirs):
    net = models.resnet18(num_classes=100)
    report = load_pretrained(net, file)
    assert report.other_shape == ("fc.weight", "fc.bias")
    assert same(net, theirs, set(theirs) - {"fc.weight", "fc.bias"})
    assert "another shape, left as they were: fc.weight, fc.bias" in str(report)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_and_nesting_are_taken_off(theirs, tmp_path, prefix):
    state = {"epoch": 3, "state_dict": {prefix + key: value for key, value in theirs.items()}}
    torch.save(state, tmp_path / "x.pth")
    net = models.resnet18()
    assert load_pretrained(net, str(tmp_path / "x.pth")).new == ()
    assert same(net, theirs, theirs)


def test_safetensors_are_read(theirs, tmp_path):
    save_file(theirs, tmp_path / "x.safetensors")
    net = models.resnet18()
    assert load_pretrained(net, str(tmp_path / "x.safetensors")).new == ()
    assert same(net, theirs, theirs)


def test_another_networks_weights_are_refused(file):
    with pytest.raises(ValueError, match=r"only \d+ of its 122 tensors fit this network"):
        load_pretrained(nn.Sequential(nn.Linear(2, 2)), file)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"neither a file nor a name of torchvision's"):
        load_pretrained(models.resnet18(), "ResNet18_Weights.NOTHING")


def test_weights_run_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"conv1.weight": Bomb()}, tmp_path / "x.pth")
    with pytest.raises(Exception, match="Weights only load failed"):
        load_pretrained(models.resnet18(), str(tmp_path / "x.pth"))
    assert not (tmp_path / "harm").exists()
