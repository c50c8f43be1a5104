"""Every file of conf/ composes, is spelt right, and builds what it says."""

import functools
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import attn
from scripts.cli.compose import build, check_names, count_classes
from scripts.cli.type_check import check_values

CONF = Path(__file__).parent.parent / "conf"


def choices(group):
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


@pytest.fixture(autouse=True, scope="module")
def _hydra():
    OmegaConf.register_new_resolver("classes", count_classes, replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def conf(*overrides):
    return compose("train", list(overrides))


@functools.cache
def plain(*choice):
    return conf(*choice)


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_is_spelt_right(name, tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    own = (f"data.root={tmp_path}",) if name == "finetune_folder" else ()
    cfg = conf(f"experiment={name}", *own)
    check_names(cfg, plain(*(("data=folder", *own) if own else ())))
    check_values(OmegaConf.to_container(cfg, resolve=True))


@pytest.mark.parametrize("data", [name for name in choices("data") if name != "folder"])
def test_every_data_set_builds_without_being_there(data):
    source = build(conf(f"data={data}").data)
    assert source.splits == ("train", "test")


def test_folder_counts_its_classes(tmp_path):
    for name in ("cat", "dog", "emu"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert conf("data=folder", f"data.root={tmp_path}").data.num_classes == 3


def test_imagenet_has_as_many_classes_as_are_chosen(tmp_path):
    for name in ("cat", "dog", "emu"):
        (tmp_path / "train" / name).mkdir(parents=True)
    there = ("data=imagenet", f"data.root={tmp_path}")
    assert conf(*there).data.num_classes == 1000
    assert conf(*there, "data.classes=100").model.num_classes == 100
    assert conf(*there, "data.classes=[dog,cat]").data.num_classes == 2
    assert conf(*there, "data.classes=null").data.num_classes == 3


def test_every_mechanism_has_a_file():
    assert set(attn.names()) <= set(choices("attn"))


def test_sites_move_any_module():
    assert conf("attn=nam").model.slots.sites == ["branch"]
    assert conf("attn=bam").model.slots.sites == ["stage"]
    assert conf("attn=bam", "sites=[inner,branch]").model.slots.sites == ["inner", "branch"]


def test_sites_are_chosen_by_stage():
    net = build(conf("model=resnet20", "attn=scalar", "sites=[{branch: [2, 3]}, head]").model)
    scalars = [name for name, m in net.named_modules() if isinstance(m, attn.Scalar)]
    assert scalars == [f"layer{i}.{j}.branch" for i in (2, 3) for j in range(3)] + ["head"]
    net = build(conf("model=resnet20", "attn=scalar", "stages=[1]").model)
    scalars = [name for name, m in net.named_modules() if isinstance(m, attn.Scalar)]
    assert scalars == [f"layer1.{j}.branch" for j in range(3)]


def test_what_is_set_later_wins(tmp_path):
    """Groups < train.yaml < experiment < command line."""
    cfg = conf("experiment=nam_cifar100")
    assert (cfg.data.statistics, cfg.recipe.epochs, cfg.seed) == ("cifar10", 200, 0)
    assert cfg.attn._target_ == "attn.NAM"
    cfg = conf("experiment=nam_cifar100", "attn=se", "data.statistics=cifar100", "seed=3")
    assert (cfg.data.statistics, cfg.seed) == ("cifar100", 3)
    assert cfg.attn._target_ == "attn.SE"


@pytest.mark.parametrize(
    ("attention", "params"),
    [
        ("none", 23_705_252),
        ("se", 26_236_244),
        ("bam", 24_063_319),
        ("cbam", 26_237_844),
        ("nam", 23_735_460),
        ("triplet", 23_710_052),
        ("eca", 23_705_332),
        ("coord", 25_623_084),
        ("gam", 149_500_596),
    ],
)
def test_the_command_line_builds_the_published_networks(attention, params):
    cfg = conf("model=resnet50", f"attn={attention}", "data=cifar100")
    with torch.device("meta"):
        assert sum(p.numel() for p in build(cfg.model).parameters()) == params
