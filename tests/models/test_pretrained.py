import argparse
import os
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import models
from attn import AFF, BAM, IEBN, NAM, SK, attach, gained
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


def saved(state, tmp_path, name="x.pth"):
    torch.save(state, tmp_path / name)
    return str(tmp_path / name)


def refuses(net, path, words, partial=False):
    """The network stays as it was, and the message is one line that names the file."""
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=words) as caught:
        load_pretrained(net, path, partial)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"weights={path}: ")
    assert same(net, before, before)


def test_weights_of_a_smaller_network_are_refused(file):
    shapes = r"layer1.0.conv1.weight is 64×64×3×3 in the file and 64×64×1×1 in this network"
    refuses(models.resnet50(), file, shapes)


def test_weights_of_a_shallower_network_are_refused(file):
    refuses(models.resnet34(), file, r"layer1.2.conv1.weight, .* and 77 more; .*weights_partial")


def test_weights_of_a_deeper_network_are_refused_although_each_layer_here_is_filled(tmp_path):
    deeper = saved(torchvision.models.resnet34().state_dict(), tmp_path)
    refuses(
        models.resnet18(), deeper, r"layers of the file are not in this network: layer1.2.conv1"
    )
    bam = models.Slots(BAM, ["stage"])
    refuses(models.resnet18(slots=bam), deeper, "layers of the file are not in this network")


def test_weights_that_lack_a_layer_are_refused(theirs, tmp_path):
    for missing in ("layer4.1.bn2.running_var", "fc.bias"):
        path = saved({k: v for k, v in theirs.items() if k != missing}, tmp_path)
        refuses(models.resnet18(), path, f"layers of this network are not in the file: {missing}")


def test_a_classifier_on_other_features_is_refused(theirs, tmp_path):
    path = saved(theirs | {"fc.weight": torch.zeros(1000, 2048)}, tmp_path)
    refuses(models.resnet18(num_classes=10), path, "fc.weight is 1000×2048 in the file")


def test_old_files_without_counters_of_batches_are_taken(theirs, tmp_path):
    old = {key: value for key, value in theirs.items() if "num_batches" not in key}
    report = load_pretrained(models.resnet18(), saved(old, tmp_path))
    assert len(report.loaded) == 102


def test_the_other_stem_is_named(file):
    net = models.resnet18(stem="cifar", num_classes=5)
    refuses(net, file, r"conv1.weight is 64×3×7×7 .* 64×3×3×3 .*: say data.stem=imagenet$")


def test_part_of_a_file_is_loaded_where_the_user_says_so(file, theirs):
    net = models.resnet34(num_classes=10)
    report = load_pretrained(net, file, partial=True)
    assert len(report.loaded) == 120
    assert "; new: layer1.2.conv1.weight, layer1.2.bn1.weight, layer1.2.bn1.bias and" in str(report)
    assert same(net, theirs, set(theirs) - {"fc.weight", "fc.bias"})
    refuses(nn.Linear(2, 2), file, "none of its tensors fits", partial=True)


def test_the_option_reaches_the_network(file):
    net = models.resnet34(weights=file, weights_partial=True)
    assert same(net, torch.load(file), ["conv1.weight"])
    with pytest.raises(ValueError, match="weights_partial"):
        models.resnet34(weights=file)


def test_the_line_says_how_many_classes_the_file_has(file):
    report = load_pretrained(models.resnet18(num_classes=100), file)
    assert "the classifier starts anew: the file has 1000 classes, the data 100" in str(report)


CONTAINERS = ["state_dict", "model", "net", "model_state_dict", "model_ema", "state_dict_ema"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_are_opened_and_named(theirs, tmp_path, container):
    options = argparse.Namespace(lr=0.1, arch="resnet18")
    path = saved({"epoch": 3, "args": options, container: theirs}, tmp_path)
    net = models.resnet18()
    report = load_pretrained(net, path)
    assert str(report).startswith(f"weights: 122 tensors of {container} loaded; new: none; ")
    assert same(net, theirs, theirs)


@pytest.mark.parametrize("average", ["model_ema", "state_dict_ema"])
def test_averaged_weights_are_preferred_and_the_others_are_named(theirs, tmp_path, average):
    averaged = {f"module.{k}": v + 1 for k, v in theirs.items()} | {"n_averaged": torch.tensor(3)}
    path = saved({"model": theirs, average: averaged}, tmp_path)
    net = models.resnet18()
    report = load_pretrained(net, path)
    assert f"122 tensors of {average} loaded" in str(report)
    assert "also in the file, not read: model" in str(report)
    assert net.state_dict()["conv1.weight"].equal(theirs["conv1.weight"] + 1)


@pytest.mark.parametrize(
    "prefix", ["model.", "net.", "backbone.", "model.module.", "net._orig_mod."]
)
def test_prefixes_of_trainers_are_taken_off(theirs, tmp_path, prefix):
    path = saved({"state_dict": {prefix + key: value for key, value in theirs.items()}}, tmp_path)
    net = models.resnet18()
    assert load_pretrained(net, path).new == ()
    assert same(net, theirs, theirs)


def test_the_classifier_beside_a_backbone_of_mm_is_found(theirs, tmp_path):
    part = {k: ("head." if k.startswith("fc.") else "backbone.") + k for k in theirs}
    path = saved({"state_dict": {part[k]: v for k, v in theirs.items()}}, tmp_path)
    assert load_pretrained(models.resnet18(), path).new == ()


def test_two_networks_in_one_file_are_refused(theirs, tmp_path):
    both = {f"{prefix}.{k}": v for prefix in ("model", "net") for k, v in theirs.items()}
    refuses(models.resnet18(), saved(both, tmp_path), "two networks: model.conv1.weight and net.")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page"),
        (b"\n<html><body>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
        (b"no weights at all", "torch finds no tensors in the file"),
    ],
)
def test_files_that_are_no_weights_are_named_with_the_reason(tmp_path, content, words):
    for name in ("x.pth", "x.safetensors"):
        (tmp_path / name).write_bytes(content)
        net = models.resnet8()
        words = "no file of safetensors" if "tensors in" in words and "safe" in name else words
        refuses(net, str(tmp_path / name), words)
        refuses(net, str(tmp_path / name), words, partial=True)


def test_a_folder_and_files_without_tensors_are_refused(tmp_path):
    net = models.resnet8()
    refuses(net, str(tmp_path), "a folder; name the file")
    for empty in ({}, {"state_dict": {}}, {"epoch": 3}):
        refuses(net, saved(empty, tmp_path), "holds no tensors by name", partial=True)
    refuses(net, saved([torch.zeros(2)], tmp_path), "holds a list, no tensors")


def test_weights_of_attach_go_into_a_network_with_slots(theirs, tmp_path):
    """And those of one with a gain into one without, and back."""
    net = torchvision.models.resnet18()
    net.load_state_dict(theirs)
    attach(net, NAM, gain=2)
    attach(net, BAM, "stage")
    path = saved(net.state_dict(), tmp_path)
    branch, stage = models.Slots(NAM, ["branch"]), models.Slots(BAM, ["stage"])
    for slots in (branch, stage, models.Slots(gained(NAM, 2), ["branch"])):
        ours = models.resnet18(slots=slots)
        report = load_pretrained(ours, path)
        assert report.new == ()
        assert len(report.loaded) == len(ours.state_dict())
    ours = models.resnet18(slots=models.Slots(gained(NAM, 2), ["branch"]))
    there = models.resnet18(slots=branch)
    assert load_pretrained(there, saved(ours.state_dict(), tmp_path)).new == ()
    assert load_pretrained(ours, saved(there.state_dict(), tmp_path)).new == ()


@pytest.mark.parametrize(
    "slots", [models.Slots(NAM, ["branch"]), models.Slots(BAM, ["stage"]), models.Slots(fusion=AFF)]
)
def test_attention_of_the_file_is_left_out_where_the_network_has_none(slots, tmp_path):
    path = saved(models.resnet18(slots=slots).state_dict(), tmp_path)
    report = load_pretrained(models.resnet18(), path)
    assert len(report.loaded) == 122
    assert len(report.unexpected) > 0


@pytest.mark.parametrize(
    "slots",
    [
        models.Slots(fusion=AFF),
        models.Slots(conv=partial(SK)),
        models.Slots(norm=IEBN),
        models.Slots(BAM, ["stage"]),
    ],
)
def test_attention_in_any_slot_may_be_new(slots, tmp_path):
    path = saved(torchvision.models.resnet50().state_dict(), tmp_path)
    report = load_pretrained(models.resnet50(slots=slots), path)
    assert len(report.new) > 0


def test_timms_mobilenet_v2_is_translated(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("mobilenetv2_100").eval()
    net = models.MobileNetV2(slots=models.Slots(NAM, ["branch"])).eval()
    path = saved(theirs.state_dict(), tmp_path)
    assert all(".branch." in key for key in load_pretrained(net, path).new)
    plain = models.MobileNetV2(weights=path).eval()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(plain(x), theirs(x))
    v3 = saved(timm.create_model("mobilenetv3_large_100").state_dict(), tmp_path)
    refuses(models.mobilenet_v3_large(), v3, "another network's file")


def test_a_name_of_timm_is_loaded_by_timm(theirs, monkeypatch):
    def create_model(name, pretrained):
        assert (name, pretrained) == ("resnet18.a1_in1k", True)
        net = torchvision.models.resnet18()
        net.load_state_dict(theirs)
        return net

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    net = models.resnet18()
    load_pretrained(net, "timm/resnet18.a1_in1k")
    assert same(net, theirs, theirs)


def test_a_name_of_timm_without_timm_or_without_network_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    refuses(models.resnet18(), "timm/resnet18", "timm is not installed; pip install timm")

    def create_model(name, pretrained):
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    refuses(models.resnet18(), "timm/resnet18", r"the download failed \(no route\)")


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"neither a file nor a name of torchvision's"):
        load_pretrained(models.resnet18(), "ResNet18_Weights.NOTHING")


def test_weights_run_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"conv1.weight": Bomb()}, tmp_path / "x.pth")
    refuses(models.resnet18(), str(tmp_path / "x.pth"), "posix.mkdir, which could run code")
    torch.save({"model": {}, "args": argparse.Namespace(lr=Bomb())}, tmp_path / "x.pth")
    refuses(models.resnet18(), str(tmp_path / "x.pth"), "posix.mkdir, which could run code")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(("channels", "words"), [(1, "summed over RGB"), (4, "repeated for 4")])
def test_the_first_convolution_is_adapted_as_timm_adapts_it(file, theirs, channels, words):
    adapt = pytest.importorskip("timm.models").adapt_input_conv
    net = models.resnet18(in_channels=channels)
    report = load_pretrained(net, file)
    assert net.conv1.weight.equal(adapt(channels, theirs["conv1.weight"]))
    assert f"conv1.weight: {words}" in str(report)
    assert same(net, theirs, set(theirs) - {"conv1.weight"})


def test_a_grey_image_gives_what_it_gave_in_rgb(file):
    grey = torch.randn(2, 1, 64, 64)
    of_grey = models.resnet18(in_channels=1, weights=file).eval()
    of_rgb = models.resnet18(weights=file).eval()
    with torch.no_grad():
        torch.testing.assert_close(of_grey(grey), of_rgb(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    "build",
    [
        models.resnet18, models.preact_resnet164, models.aff_resnet32, models.MobileNetV1,
        models.MobileNetV2, models.mobilenet_v3_small,
    ],
)  # fmt: skip
def test_every_backbone_takes_images_of_other_channels(build):
    for channels in (1, 4):
        with torch.device("meta"):
            net = build(in_channels=channels, num_classes=2).eval()
        assert net(torch.empty(1, channels, 64, 64, device="meta")).shape == (1, 2)


def test_a_grey_checkpoint_does_not_go_into_an_rgb_network(tmp_path):
    path = saved(models.resnet18(in_channels=1).state_dict(), tmp_path)
    refuses(models.resnet18(), path, "conv1.weight is 64×1×7×7 in the file and 64×3×7×7")
