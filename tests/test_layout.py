"""The rules that keep the source readable, checked on the source itself."""

import ast
import graphlib
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("attn", "models", "engine", "report", "scripts")
COMMANDS = ("train", "eval")


def module_name(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = [ROOT / f"{command}.py" for command in COMMANDS]
FILES += [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
SOURCES = {module_name(file): file for file in FILES}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in SOURCES.items()}
each_module = pytest.mark.parametrize("module", SOURCES)

ISLANDS = {  # top-level name -> what it may import of the project, and of the reserved libraries
    "attn": {"attn"},
    "models": {"models"},
    "engine": {"engine"},
    "report": {"report"},
    "scripts": {"scripts", "attn", "engine", "report", "hydra", "omegaconf"},
    "train": {"scripts", "engine", "hydra", "omegaconf"},
    "eval": {"scripts", "engine", "report", "hydra", "omegaconf"},
}
RESERVED = {*PACKAGES, *COMMANDS, "conf", "hydra", "omegaconf"}
FOUNDATION = {"engine.storage", "engine.distributed", "engine.transforms", "engine"}
BELOW = {  # wing -> the wings of its package that it may import
    "engine": set(),
    "engine.storage": {"engine"},
    "engine.distributed": {"engine"},
    "engine.transforms": {"engine"},
    "engine.datasets": FOUNDATION,
    "engine.training": FOUNDATION | {"engine.datasets"},
    "engine.benchmark": FOUNDATION | {"engine.datasets", "engine.training"},
    "attn": {"attn.fused", "attn.surgery"},
    "attn.fused": set(),
    "attn.surgery": {"attn.fused"},
    "models": set(),
    "report": set(),
    "report.formats": {"report"},
    "scripts": {"scripts.cli", "scripts.tables", "scripts.benchmarks", "scripts.pages"},
    "scripts.cli": set(),
    "scripts.tables": {"scripts.cli"},
    "scripts.benchmarks": {"scripts.cli"},
    "scripts.pages": {"scripts.cli"},
}


def imports(tree):
    """Every module that the source imports, late imports and imports for types included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in SOURCES else node.module for name in full)


def wing(module):
    """The package that holds a module's file."""
    return SOURCES[module].parent.relative_to(ROOT).as_posix().replace("/", ".")


GRAPH = {module: {name for name in imports(TREES[module]) if name in SOURCES} for module in SOURCES}


@each_module
def test_islands_do_not_import_each_other_and_hydra_stays_in_scripts(module):
    found = {name.partition(".")[0] for name in imports(TREES[module])} & RESERVED
    assert found <= ISLANDS[module.partition(".")[0]]


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith("attn")])
def test_attn_needs_torch_alone(module):
    found = {name.partition(".")[0] for name in imports(TREES[module])}
    assert found - sys.stdlib_module_names <= {"attn", "torch"}


def test_no_import_circle():
    graphlib.TopologicalSorter(GRAPH).prepare()  # CycleError names the circle


@pytest.mark.parametrize("module", [name for name in SOURCES if name not in COMMANDS])
def test_wings_import_downwards_only(module):
    own = wing(module)
    package = own.partition(".")[0]
    below = {wing(name) for name in GRAPH[module]} - {own}
    faces = SOURCES[module].name == "__init__.py"  # a package's face shows what its wings hold
    assert {name for name in below if name.split(".")[0] == package} <= BELOW[own] or faces


@pytest.mark.parametrize("module", [name for name in SOURCES if wing(name) == "scripts"])
def test_scripts_holds_commands_alone(module):
    if module == "scripts":
        return
    assert 'if __name__ == "__main__":' in SOURCES[module].read_text(encoding="utf-8")
    assert module not in set().union(*GRAPH.values())


@each_module
def test_no_function_is_longer_than_40_lines(module):
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 40, f"{node.name} is too long"


@each_module
def test_public_things_say_what_they_are(module):
    assert ast.get_docstring(TREES[module])
    for node in TREES[module].body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_no_two_public_classes_of_one_name():
    found = defaultdict(list)
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


OLD_NAMES = {  # where an old name may not come back; other places use the word for something else
    "": """
        door Contest Contestant race Race usual_loader bare_loop restate Planned Pulse Several Alone
        shared agree follow align synced together joined Lost Refused Diverged DataLost Stopped
        Source everything watched Files Reading Keep Then Latest unite Attention Log Silence hits
        LATER MACHINE flat FusedEnd FusedTail Pad scaled fuse within lacking listing sweeps forced
    """,
    "attn.fused": "logits tail",
    "attn.fusions": "Point",
    "engine.distributed": "world first part average gather",
    "engine.rng": "key",
    "engine.training": "look measured",
    "models.slots": "normalize conv3x3",
}
OLD_MODULES = {
    *("tail", "keyed", "cost", "augment", "mix", "source", "images", "listing", "files", "rundir"),
    *("average", "compiled", "diverged", "gates", "log", "alone", "usual", "restated", "pulse"),
    *("syncbn", "columns", "collect", "board", "door", "answers", "values", "network", "stored"),
    *("sweep", "combinations", "contest", "utils"),
}


@pytest.mark.parametrize("scope", OLD_NAMES)
def test_old_names_do_not_come_back(scope):
    old = set(OLD_NAMES[scope].split())
    for module in (name for name in SOURCES if name.startswith(scope)):
        kinds = (ast.ClassDef, ast.FunctionDef)
        defined = {node.name for node in ast.walk(TREES[module]) if isinstance(node, kinds)}
        targets = [t for n in TREES[module].body if isinstance(n, ast.Assign) for t in n.targets]
        defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        assert not defined & old, module


@each_module
def test_old_module_names_do_not_come_back(module):
    assert module == "scripts.cost" or module.rpartition(".")[2] not in OLD_MODULES


def test_train_fits_a_screen():
    assert len((ROOT / "train.py").read_text().splitlines()) < 60


def test_nothing_is_called_utils():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    assert not [file for file in files.splitlines() if "util" in file]


PATH = re.compile(r"(?<![\w./-])(?:[\w-]+/)+[\w.-]*|(?<![\w/])[\w-]+\.(?:py|md|toml|yaml)\b")
INVENTED = {"weights.safetensors", "metrics.jsonl", "result.json"}  # files of a run


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_a_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {p for span in re.findall(r"`([^`\n]+)`|\]\(([^)]+)\)", text) for p in span if p}
    paths = {p for p in named if PATH.fullmatch(p) and "NAME" not in p} - INVENTED
    assert len(paths) > 10
    missing = [
        p for p in paths if not ((ROOT / p).exists() or (ROOT / page).parent.joinpath(p).exists())
    ]
    assert missing == []


def test_the_tree_of_folders_in_contributing_is_the_tree_of_folders():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("## Layout")[1].split("```")[1]
    named, top = set(), ""
    for line in filter(None, block.splitlines()):
        folder = line.split("/")[0].strip()
        top = top if line.startswith(" ") else folder
        named.add(f"{top}/{folder}" if line.startswith(" ") else folder)
    there = {wing(module).replace(".", "/") for module in SOURCES if module not in COMMANDS}
    assert named == there | {"conf", "tests"}
