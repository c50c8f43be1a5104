"""Wrong configurations, made from the real configuration, key by key.

Each mutation is a command line that runs in this process; its data must not be read. The answer to
a wrong command is one line, which names the key and the legal values, with exit code 2. A legal
command gets as far as the data. Neither leaves a file behind.
"""

import difflib
import functools
import itertools
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from engine.datasets.dataset import ImageDataset
from engine.storage.run_dir import flatten
from scripts.cli.overrides import CONF

pytestmark = pytest.mark.fault("B1")

ROOT = Path(__file__).parents[2]
NETWORKS = (  # each adds keys that the others do not have
    ("model=resnet20", "data=cifar100", "attn=cbam", "recipe=cifar_200ep"),
    ("model=mobilenet_v2", "data=digits", "attn=bam", "recipe=digits"),
    ("model=preact_resnet164", "data=cifar10", "attn=gc", "recipe=smoke"),
)
SAME = (
    r"(slots|model\.slots|fusion|conv|norm|device)\b"  # nodes that only refer to others; the host
)
ADVICE = (
    "expected|must|has to|choose|did you mean|there are|no option|not allowed|leave it out|write|"
    "say|such as|quote|[Ii]nvalid|Error merging"
)
HUGE = "1" + 12 * "0"


@dataclass(frozen=True)
class Mutation:
    """A command line, and patterns that the answer must match; no patterns if it is legal."""

    said: tuple[str, ...]
    answer: tuple[str, ...] = ()
    script: str = "train.py"

    def __str__(self) -> str:
        return " ".join((self.script, *self.said))


def wrong(said: tuple[str, ...], key: str, *answer: str, script: str = "train.py") -> Mutation:
    """A wrong command; the answer must name the key's last part and say what to do."""
    return Mutation(said, (re.escape(key.rpartition(".")[2]), *(answer or (ADVICE,))), script)


@functools.cache
def keys() -> list[tuple[tuple[str, ...], str, object]]:
    """(choices, key, value) of every option of the networks, each key once."""
    found = {}
    for choices in NETWORKS:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = OmegaConf.to_container(compose("train", [*choices]), resolve=True)
        for key, value in flatten(config):
            if not re.match(SAME, key):
                found.setdefault(key, (choices, key, value))
    return list(found.values())


def misspelt() -> Iterator[Mutation]:
    """Exchange two letters of each key; every second time add a plus, which Hydra would obey."""
    for plus, (choices, key, _) in zip(itertools.cycle(("", "+")), keys()):
        path, dot, name = key.rpartition(".")
        if name.startswith("_"):
            continue
        typo = f"{path}{dot}{name[0]}{name[2:3]}{name[1]}{name[3:]}"
        if typo == key:
            typo = key + key[-1]
        near = difflib.get_close_matches(typo.rpartition(".")[2], [name], 1, 0.5)
        hint = (
            f"did you mean {re.escape(key)}\\?"
            if near
            else "choose from|has no options|did you mean"
        )
        yield wrong((*choices, f"{plus}{typo}=1"), typo, hint)


WRONG_TYPES = {  # by the type of the default value
    bool: ("maybe", "3", "null", "[true]"),
    int: ("abc", "3.5", "true", "", "null", "[1]", "{a: 1}", "nan", "１"),
    float: ("abc", "true", "", "null", "[1]", "nan", "inf", "'0.1'"),
    str: ("3", "nan", "", "null", "[a]", "true"),
    list: ("abc", "3", "", "null", "[[]]", "{a: 1}"),
}


RIGHT = {("sites", "{a: 1}"), ("recipe.warmup_epochs", "3.5"), ("checkpoint_seconds", "3.5")}


def wrong_types() -> Iterator[Mutation]:
    for choices, key, value in keys():
        for bad in WRONG_TYPES.get(type(value), ()):
            if (key, bad) not in RIGHT:
                yield wrong((*choices, f"{key}={bad}"), key)


POSITIVE = (
    "accumulate", "epochs", "batch_size", "lr", "gamma", "reduction", "kernel_size", "dilation",
    "num_classes", "image_size", "width_mult", "gain", "channels", "in_channels",
)  # fmt: skip


def out_of_range() -> Iterator[Mutation]:
    """Numbers below 0 are always wrong here; 0 and huge numbers are often right."""
    for choices, key, value in keys():
        if type(value) not in (int, float):
            continue
        name = key.rpartition(".")[2]
        named = "" if name == "width_mult" else key  # the message names the channels
        yield wrong((*choices, f"{key}=-1"), named, ADVICE)
        if name in POSITIVE:
            yield wrong((*choices, f"{key}=0"), named, ADVICE)
        else:
            yield Mutation((*choices, f"{key}=0"))
    for key in ("recipe.epochs", "recipe.batch_size", "recipe.lr", "seed"):
        yield Mutation((*NETWORKS[0], f"{key}={HUGE}"))
    for key in ("seed=18446744073709551616", f"recipe.label_smoothing={HUGE}"):
        yield wrong((*NETWORKS[0], key), key.partition("=")[0])


def wrong_choices() -> Iterator[Mutation]:
    groups = ("attn", "model", "data", "recipe", "experiment")
    for group in groups:
        for bad in ("nope", "", "null", "3", "[a,b]", "é"):
            yield wrong((f"{group}={bad}",), group, "unknown", "choose from")
        other = {"attn": "resnet50", "model": "se"}.get(group, "nam")
        yield wrong((f"{group}={other}",), group, f"unknown {group} '{other}'")
        yield wrong((f"{group}=a,b",), group, "add -m")
        yield wrong((f"{group}x=a",), f"{group}x", f"did you mean {group}\\?")
        yield wrong((group,), group, "write")
    for said, near in {"attn=SEM": "sem", "attn=namm": "nam", "model=resnet5": "resnet50"}.items():
        yield wrong((said,), near, "choose from")


def structure() -> Iterator[Mutation]:
    """Keys of other groups, keys below values, values for nodes, and removed nodes."""
    base = NETWORKS[0]
    for said in (
        "attn.lr=1",
        "recipe.reduction=1",
        "data.padding=1",
        "model.epochs=1",
        "attn.x.y=1",
    ):
        yield wrong((*base, said), said.partition("=")[0].split(".")[1], "unknown option")
    for key in ("recipe.lr", "seed", "model.weights", "stages", "attn.order"):
        yield wrong((*base, f"{key}.x=1"), f"{key}.x", f"{re.escape(key)} has no options")
    for key in ("recipe.schedule", "recipe.optimizer", "recipe.augment", "fusion", "conv", "norm"):
        for bad in ("3", "null", "sgd", "[a]"):
            yield wrong((*base, f"{key}={bad}"), key, "expected a group of options|Error merging")
    for key in (
        "recipe.lr",
        "recipe.optimizer",
        "attn",
        "seed",
        "out",
        "slots",
        "sites",
        "nothing",
    ):
        yield wrong((*base, f"~{key}"), key, ".")
    for key in ("model.num_classes=5", "fusion._target_=attn.SE", "norm._target_=attn.AFF"):
        yield wrong((*base, key), "", "^train.py: model")


def targets() -> Iterator[Mutation]:
    bad = (
        "os.system", "builtins.eval", "subprocess.run", "torch.load", "attn.nope", "attn.", "3",
        "null", "[a]", "torch.nn.functional.relu", "engine.storage.checkpoint.os.system",
    )  # fmt: skip
    for node in ("attn", "recipe.optimizer", "model", "data"):
        for target in bad:
            words = "not allowed|is not a class of|there is no file|expected a class"
            yield wrong((f"{node}._target_={target}",), f"{node}._target_", words)
        for flag in ("3", "null", "abc"):
            yield wrong((f"{node}._partial_={flag}",), f"{node}._partial_", "no option")


def syntax() -> Iterator[Mutation]:
    for bad in ("[1", "1]", "'1", "{a", "1,,2", "range(a)", "choice(", "'a'b", "(1", '"'):
        yield wrong((f"recipe.lr={bad}",), "recipe.lr", "quote")
    for bad in ("${nothing}", "${recipe.lr}", "???", "${attn}", "1,2"):
        yield wrong((f"recipe.lr={bad}",), "recipe.lr", ".")
    for word in ("recipe.lr", "recipe", "resnet50", "se"):
        yield wrong((word,), word, "write")
    yield Mutation(("model=resnet20", "seed=1", "seed=2"))  # the later value wins, as everywhere
    yield wrong(("seed=1", "seed=x"), "seed")
    for flags in (("--resolve",), ("--run", "--multirun"), ("-m", "seed=1", "--cfg", "job")):
        yield wrong(flags, flags[0].strip("-"), "only|Only")
    yield wrong(("hydra.foo=1",), "hydra.foo", "Could not override")
    yield wrong(("hydra/launcher=nope",), "hydra/launcher", "choose from")
    yield wrong(("hydra.mode=nope",), "hydra.mode", "Error merging")
    yield wrong(("--config-name=nope",), "nope", "Cannot find")
    yield wrong(("--config-dir=/nowhere",), "/nowhere", "not found")


def other_doors() -> Iterator[Mutation]:
    own = {
        "eval.py": {"run": "3", "split": "3", "root": "3", "json": "3", "per_class": "a"},
        "scripts/cam.py": {"images": "0", "vs": "3", "layer": "3", "out": "x.jpg", "seed": "-1"},
        "scripts/table.py": {"runs": "3", "run": "a", "seeds": "[1,1]", "cost": "a", "to": "null"},
    }
    for script, options in own.items():
        there = ("table=quickstart",) if "table" in script else ("run=/nowhere",)
        for key, bad in options.items():
            yield wrong((*there, f"{key}={bad}"), key, "expected|takes|PNG", script=script)
            yield wrong((*there, f"{key}.x=1"), f"{key}.x", f"{key} has no", script=script)
            if "table" not in script:  # table.py passes other options to the runs
                hint = f"did you mean {key}\\?"
                yield wrong((*there, f"{key}{key[-1]}=1"), key, hint, script=script)
    table = ("scripts/table.py",)
    for said in ("seeds=0", "seeds=abc", "seed=1", "table.rows=3", "table.baseline=nope"):
        yield wrong(("table=quickstart", said), said.partition("=")[0], script=table[0])
    for said in ("recipe.lrr=1", "model=nope", "attn=nope", "attn=", "foo", "~attn", "data=a,b"):
        key = re.split("[=,]", said)[0]
        yield wrong(("table=quickstart", said), key, script=table[0])
    for said in ("table=nope", "table=null", "table=", "tabel=quickstart", "model=resnet20"):
        yield wrong((said,), said.partition("=")[0], ".", script=table[0])
    for said in ("model=nope", "attn=nope", "attn=", "modle=se", "recipe.lrr=1", "data=nope"):
        yield wrong((said,), said.partition("=")[0], script="scripts/cost.py")


FAMILIES = (
    misspelt, wrong_types, out_of_range, wrong_choices, structure, targets, syntax, other_doors,
)  # fmt: skip


class DataWasRead(BaseException):
    """Raised when a command loads images."""


@pytest.fixture
def answered(monkeypatch, tmp_path, capsys):
    """answered(mutation): whether the command's answer is right; prints wrong answers."""

    def load(self: ImageDataset, split: str) -> None:
        raise DataWasRead

    def answer(mutation: Mutation) -> bool:
        monkeypatch.setattr(sys, "argv", [str(ROOT / mutation.script), *mutation.said])
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except (Exception, SystemExit, DataWasRead) as error:
            code = error.code if isinstance(error, SystemExit) else error
        line = capsys.readouterr().err
        left = list(tmp_path.iterdir())
        if not mutation.answer:
            right = isinstance(code, DataWasRead)
        else:
            right = code == 2 and line.count("\n") == 1 and "Traceback" not in line
            right = right and all(re.search(words, line) for words in mutation.answer)
        if left or not right:
            with capsys.disabled():
                print(f"\n{mutation}\n  -> {code!r} {line.strip()!r} left {left}")
        return right and not left

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scripts.cli.made_from.fetch_missing", lambda name, root: None)
    monkeypatch.setattr(ImageDataset, "load", load)
    monkeypatch.setattr(ImageDataset, "origin", lambda self: load(self, "train"))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it too; monkeypatch unsets it
    return answer


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_it_is_answered_in_one_line(family, answered, rounds, tally):
    every = list(family())
    stride = -(-len(every) // rounds(5, len(every)))
    tally("B1", family.__name__, [answered(mutation) for mutation in every[::stride]])


def test_a_typo_in_a_file_of_ones_own_is_found(answered, rounds, tally, tmp_path_factory):
    shipped = (CONF / "recipe/smoke.yaml").read_text()
    names = re.findall(r"^ *([a-z]\w+):", shipped, re.MULTILINE)
    outcomes = []
    for name in names[:: rounds(4, 1)]:
        folder = tmp_path_factory.mktemp("conf")
        (folder / "recipe").mkdir()
        text = shipped.replace(f"{name}:", f"{name}{name[-1]}:", 1)
        (folder / "recipe/mine.yaml").write_text(text)
        said = (f"--config-dir={folder}", "recipe=mine")
        outcomes.append(answered(wrong(said, name, f"did you mean recipe\\.(.*\\.)?{name}\\?")))
    tally("B1", "a typo in a file", outcomes)


NO_TORCH = """
import runpy, sys
sys.modules["torch"] = None  # to import it is an error
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_process_answers_names_without_torch(tmp_path, rounds, tally):
    every = [m for family in (misspelt, wrong_choices, targets, syntax) for m in family()]
    every = [m for m in every if m.answer and not m.said[-1].startswith(("recipe.lr=", "seed"))]
    outcomes = []
    for mutation in every[:: len(every) // rounds(5, 20)]:
        ended = subprocess.run(
            [sys.executable, "-c", NO_TORCH, str(ROOT / mutation.script), *mutation.said],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        outcomes.append((ended.returncode, ended.stderr.count("\n"), ended.stdout) == (2, 1, ""))
    tally("B1", "a process without torch", [*outcomes, not list(tmp_path.iterdir())])
