"""Every table of conf/table has valid runs, and published counts that fit its networks."""

import functools
import itertools
import re

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from report.published import published
from scripts.cli.compose import build, check_names, count_classes
from scripts.cli.overrides import CONF
from scripts.cli.type_check import check_values

TABLES = sorted(file.stem for file in (CONF / "table").glob("*.yaml"))
KEYS = {"title", "baseline", "seeds", "settings", "rows", "spread", "remarks", "published"}
NEEDED = {"title", "baseline", "seeds", "settings", "rows"}
# Parameter counts that a source prints, but that the described network does not have.
MISPRINTS = {
    ("nam_cifar100", "resnet50", "nam", "23.71M"): "the plain network's",
    ("nam_cifar100", "resnet50", "se", "26.5M"): "a last stage of 516 channels, and biases",
    ("nam_cifar100", "resnet18", "se", "11.4M"): "a last stage of 516 channels, and biases",
    ("nam_cifar100", "resnet34", "se", "21.6M"): "a last stage of 516 channels, and biases",
    ("nam_cifar100", "resnet101", "se", "47.7M"): "a last stage of 516 channels, and biases",
    ("nam_cifar100", "resnet18", "cbam", "11.39M"): "a CBAM of its own",
    ("nam_cifar100", "mobilenet_v1", "cbam", "3.79M"): "a CBAM of its own",
    ("imagenet", "resnet50", "sk", "37.12M"): "an SK of its own, 37.25 here",
    ("imagenet", "resnet152", "eca", "57.41M"): "57.405, and fewer with the released kernels",
    ("imagenet_resnext", "resnext50_32x4d", "se", "27.7M"): "27.56 by the formula of SE",
    ("imagenet_resnext", "resnext50_32x4d", "cbam", "27.7M"): "27.56 by the formula of CBAM",
    ("aff_imagenet", "resnext50_32x4d", "aff", "29.9M"): "a deep stem",
    ("aff_imagenet", "resnext50_32x4d", "iaff", "34.7M"): "a deep stem",
    ("aff_cifar100_resnext", "aff_resnext47", "aff", "9.7M"): "9.61 by the authors' code",
}


def overrides_of(settings):
    """One list of overrides for each comparison of a table."""
    choices = [value if isinstance(value, list) else [value] for value in settings.values()]
    for values in itertools.product(*choices):
        yield [f"{key}={value}" for key, value in zip(settings, values, strict=True)]


def missing(settings):
    """The missing files among the files that a table names."""
    files = [CONF / group / f"{settings[group]}.yaml" for group in ("data", "recipe")]
    return [file for file in files if not file.exists()]


def load(name):
    return OmegaConf.to_container(compose(f"table/{name}").table)


@functools.cache
def plain(*choice):
    return compose("train", list(choice))


@functools.cache
def parameters(*overrides):
    """The parameter count of one run's network; also checks the run's configuration."""
    cfg = compose("train", list(overrides))
    check_names(cfg, plain(*(word for word in overrides if word.startswith("attn="))))
    check_values(OmegaConf.to_container(cfg, resolve=True))
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(cfg.model).parameters())


@pytest.fixture(autouse=True, scope="module")
def _hydra():
    OmegaConf.register_new_resolver("classes", count_classes, replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_what_a_table_has(name):
    table = load(name)
    assert set(table) <= KEYS
    assert set(table) >= NEEDED
    assert table["baseline"] in table["rows"]
    assert table["seeds"] > 1, "one seed has no spread"
    assert all(isinstance(remark, str) for remark in table.get("remarks", []))
    assert (CONF / "table" / f"{name}.yaml").read_text().count(f"table={name} ") == 1


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_a_run(name):
    table = load(name)
    if absent := missing(table["settings"]):
        pytest.skip(f"no {absent[0].name} yet")
    for shared in overrides_of(table["settings"]):
        for overrides in table["rows"].values():
            assert "=" in overrides
            assert parameters(*shared, *overrides.split())


@pytest.mark.parametrize("name", TABLES)
def test_no_two_rows_are_the_same_run(name):
    rows = list(load(name)["rows"].values())
    assert len({frozenset(row.split()) for row in rows}) == len(rows)


@pytest.mark.parametrize("name", TABLES)
def test_what_was_printed_is_cited_and_of_networks_that_exist(name):
    table = load(name)
    values = published(table.get("published", []))
    known = {file.stem for file in (CONF / "model").glob("*.yaml")}
    assert {value.model for value in values} <= known
    assert len(values) == len({(v.source, v.data, v.model, v.row) for v in values})


@pytest.mark.parametrize("name", TABLES)
def test_printed_parameters_are_those_of_the_networks(name):
    table = load(name)
    settings = table["settings"]
    if absent := missing(settings):
        pytest.skip(f"no {absent[0].name} yet")
    wrong = set()
    for value in published(table.get("published", [])):
        row = table["rows"].get(value.row, "")
        own = value.model in settings["model"] or "model=" not in row
        if value.params is None or not row or not own:
            continue
        (shared,) = overrides_of(settings | {"model": value.model})
        count = parameters(*shared, *row.split())
        if not is_printed(count / unit(value.note), value.params):
            wrong.add((name, value.model, value.row, value.params))
    assert wrong == {key for key in MISPRINTS if key[0] == name}


def unit(note):
    return 2**20 if "1024 x 1024" in note else 10**6


def is_printed(count, text):
    """Whether `count`, rounded or cut to the digits of `text`, is the number in `text`."""
    digits = re.match(r"[\d.]+", text)[0]
    last = 10 ** -len(digits.partition(".")[2])
    return -0.5 * last <= round(count - float(digits), 9) < last


def test_a_printed_number_is_rounded_or_cut():
    assert is_printed(23.705, "23.71M")
    assert is_printed(30.354, "30.3M")
    assert not is_printed(23.7049, "23.71M")
    assert not is_printed(30.4, "30.3M")
    assert is_printed(25_557_112 / unit("An M is 1024 x 1024 here."), "24.37M")
