"""Mutations of every kind of file and of the command line: an answer, never a traceback or a wait.

The mutations are drawn from a seed: bytes flipped, cut, doubled and inserted; values replaced by
odd ones.
"""

import contextlib
import json
import math
import os
import random
import runpy
import sys
import time
from pathlib import Path

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engine.datasets.dataset import ImageDataset
from engine.errors import RunError
from engine.storage.run_dir import RunDir
from report.curves import curves
from report.formats.html import html
from report.formats.latex import latex
from report.formats.tensorboard import write_board
from report.formats.text import markdown, spreadsheet
from report.formats.write import folder_name
from report.records import collect
from report.remarks import remarks
from report.table import Table, judged, of_records
from scripts.cli.compose import build, count_classes
from scripts.cli.overrides import CONF
from scripts.cli.saved_run import load_config
from scripts.tables.plan import check_table, plan_sections
from tests.faults.test_odd_results import record

pytestmark = pytest.mark.fault("B9")

ROOT = Path(__file__).parents[2]
SLOW = 10.0  # seconds after which an answer is a hang
ODD = [
    None, True, -1, 0, 10**30, 10**400, 1e308, math.nan, math.inf, "", " ", "\0", "\ud800", "a\nb",
    "../x", "/tmp/x", "~/x", "${oc.env:HOME}", "$(id)", "<script>", "=1+1", "x" * 5000, [], {},
    [[[[]]]], {"a": {"b": []}}, {"_target_": "os.system"}, "\x1b[2J", "[x] y", "é",
]  # fmt: skip
BYTES = [
    b"\0", b"\xff", b"\n", b"'", b'"', b"{", b"}", b"[", b"]", b":", b",", b"&a ", b"*a ",
    b"!!python/none ", b"---\n", b"\xe2\x80\xa8", b"=", b" ", b"-", b"%", b"#",
]  # fmt: skip


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content with one to three changes to its bytes."""
    for _ in range(draw.randint(1, 3)):
        at, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
        part = content[at:end]
        change = draw.choice(["insert", "cut", "double", "replace", "end"])
        new = {
            "insert": draw.choice(BYTES) + part,
            "cut": b"",
            "double": part + part,
            "replace": draw.randbytes(min(len(part), 4)),
            "end": part,
        }[change]
        content = content[:at] + new + (b"" if change == "end" else content[end:])
    return content


def mutated_value(tree: object, draw: random.Random) -> object:
    """The tree with one value, key or item replaced by an odd one, or left out."""
    if isinstance(tree, dict) and tree and draw.random() < 0.85:
        key = draw.choice(list(tree))
        change = draw.random()
        if change < 0.1:
            return {k: v for k, v in tree.items() if k != key}
        if change < 0.2:
            return tree | {str(draw.choice(ODD)): 1}
        return tree | {key: mutated_value(tree[key], draw)}
    if isinstance(tree, list) and tree and draw.random() < 0.6:
        at = draw.randrange(len(tree))
        return [*tree[:at], mutated_value(tree[at], draw), *tree[at + 1 :]]
    return draw.choice(ODD)


def mutations(tree: object, dump, count: int, seed: int):
    """`count` contents of a file: half are changed in their bytes, half in their values."""
    draw, whole = random.Random(seed), dump(tree).encode()
    for _ in range(count):
        if draw.random() < 0.5:
            yield mutated_bytes(whole, draw)
        else:
            with contextlib.suppress(UnicodeEncodeError, yaml.YAMLError):
                yield dump(mutated_value(tree, draw)).encode()


@contextlib.contextmanager
def answered(what: object):
    """A context that allows the errors which a command prints in one line."""
    started = time.monotonic()
    try:
        yield
    except (RunError, HydraException, OmegaConfBaseException):
        pass
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} after {what!r}") from error
    assert time.monotonic() - started < SLOW, what


@pytest.fixture(autouse=True)
def _nothing_outside(tmp_path, monkeypatch):
    """Every door is tried in an empty folder, and nothing is written beside it."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    yield
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_results(rounds, tally):
    folder, outcomes = Path("runs/b/seed0"), []
    folder.mkdir(parents=True)
    other = Path("runs/a/seed0")
    other.mkdir(parents=True)
    (other / "result.json").write_text(json.dumps(record("none", 0, 90.0)))
    whole = record("se", 0, 91.0) | {"val_top1": 3.0, "torch": "2", "images": {"train": 3}}
    for content in mutations(whole, json.dumps, rounds(25, 500), seed=1):
        (folder / "result.json").write_bytes(content)
        with answered(content):
            found = collect(Path("runs"))
            comparisons = judged(of_records(found.records))
            said = [line for c in comparisons for line in remarks(c)] + [*found.left_out.values()]
            table = Table("runs", comparisons, said)
            for form in (markdown, latex, spreadsheet, lambda table: html(table, "command")):
                form(table).encode()
            folders = [folder_name(c.title) for c in comparisons]
            outcomes.append(all("/" not in name and name.strip(".") for name in folders))
    tally("B9", "result.json, mutated: answered", outcomes)


def test_logs(rounds, tally):
    folder, outcomes = Path("runs/a"), []
    folder.mkdir(parents=True)
    rows = [{"epoch": i, "train.lr": 0.1, "test.top1": 10.0 * i} for i in (1, 2, 3)]
    for content in mutations(
        rows,
        lambda tree: "\n".join(map(json.dumps, tree if isinstance(tree, list) else [tree])) + "\n",
        rounds(25, 500),
        seed=2,
    ):
        (folder / "metrics.jsonl").write_bytes(content)
        with answered(content):
            curve = curves([folder], "test.top1")
            write_board({"a": [folder]}, Path("board"))
            outcomes.append(len(curve.epochs) <= 10**6)
    tally("B9", "metrics.jsonl, mutated: answered", outcomes)


RUN = {
    "data": {"_target_": "engine.datasets.Digits", "num_classes": 10, "image_size": 8},
    "model": {"_target_": "models.resnet20", "slots": {"_target_": "models.Slots", "sites": []}},
    "recipe": {"_target_": "engine.training.Recipe", "epochs": 1, "batch_size": 8, "lr": 0.1},
    "seed": 0,
    "precision": "fp32",
    "out": "runs",
    "made_from": {"images": {"train": 1}, "classes": ["a"], "data": "0", "weights": None},
}


def test_configurations(rounds, tally):
    outcomes = []
    for content in mutations(RUN, yaml.safe_dump, rounds(25, 500), seed=3):
        Path("config.yaml").write_bytes(content)
        with answered(content):
            RunDir(Path(), {"seed": 0}, {}).differences()
        with answered(content):
            config = load_config(".", None)
            build(config.data)
            build(config.recipe)
        outcomes.append(sorted(os.listdir()) == ["config.yaml"])
    tally("B9", "config.yaml, mutated: answered", outcomes)


TABLE = {
    "title": "t", "baseline": "none", "seeds": 2, "remarks": ["r"],
    "settings": {"data": "digits", "model": "resnet20", "recipe": "digits"},
    "rows": {"none": "attn=none", "se": "attn=se attn.reduction=4"},
}  # fmt: skip


def test_tables(rounds, tally):
    OmegaConf.register_new_resolver("classes", count_classes, replace=True)
    outcomes = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for content in mutations(TABLE, yaml.safe_dump, rounds(30, 500), seed=4):
            with answered(content), contextlib.suppress(yaml.YAMLError, ValueError):
                table = OmegaConf.to_container(OmegaConf.create(yaml.safe_load(content.decode())))
                check_table(table)
                plan_sections(table, {}, [0])
            outcomes.append(not os.listdir())
    tally("B9", "a table's file, mutated: answered", outcomes)


WORDS = [
    "model=resnet20", "data=digits", "attn=cbam", "recipe=digits", "recipe.epochs=2",
    "sites=[branch]", "attn.reduction=4", "seed=1", "device=cpu", "-m", "--cfg=job",
]  # fmt: skip


class DataWasRead(BaseException):
    pass


def test_command_lines(rounds, tally, monkeypatch, capsys):
    def load(self, *arguments):
        raise DataWasRead

    monkeypatch.setattr(ImageDataset, "load", load)
    monkeypatch.setattr(ImageDataset, "origin", load)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    draw, outcomes = random.Random(5), []
    for _ in range(rounds(40, 500)):
        words = draw.sample(WORDS, draw.randint(1, 5))
        at = draw.randrange(len(words))
        words[at] = (
            mutated_bytes(words[at].encode(), draw).replace(b"\0", b"").decode(errors="replace")
        )
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *words])
        started = time.monotonic()
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except (SystemExit, DataWasRead) as error:
            code = error.code if isinstance(error, SystemExit) else 0
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} after {words}") from error
        said = capsys.readouterr().err
        outcomes.append(
            code in (0, 2) and "Traceback" not in said and time.monotonic() - started < SLOW
        )
        assert outcomes[-1], (words, code, said)
    tally("B9", "a command line, mutated: answered", outcomes)
