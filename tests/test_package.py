"""A wheel of the project installs the library `attn` and nothing else; attn needs torch alone."""

import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("attn", "models", "engine", "report", "scripts", "conf")
FILES = ("train.py", "eval.py", "pyproject.toml", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
BLOCK = """
import sys
from importlib.abc import MetaPathFinder

class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {banned}:
            raise ModuleNotFoundError(name + " is not installed")

sys.meta_path.insert(0, Block())
sys.path.insert(0, {folder})
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel; the build happens in a copy, because it leaves files beside its sources."""
    if not {"setuptools", "pip"} <= {found.name for found in distributions()}:
        pytest.skip("setuptools and pip build the wheel, and one of them is not installed")
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    offline = ("--no-build-isolation", "--no-deps", "--no-index")
    subprocess.run([*PIP, "wheel", *offline, "--wheel-dir", built, copy], check=True)
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds the installed package and nothing else."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [*PIP, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True
    )
    return target


def python(folder, code, banned=()):
    """Run code that sees the packages of `folder` first and none of the banned packages."""
    head = BLOCK.format(banned=frozenset(banned), folder=repr(str(folder)))
    command = [sys.executable, "-I", "-c", head + code]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_wheel_holds_attn_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {re.sub(r"-.*(?=\.)", "", name.split("/")[0]) for name in names} == {
        "attn",
        "attnbench.dist-info",
    }
    sources = {str(file.relative_to(ROOT)) for file in (ROOT / "attn").rglob("*.py")}
    assert {name for name in names if name.startswith("attn/")} == sources


def test_the_library_requires_torch_alone(metadata):
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert [re.match(r"[\w-]+", line)[0] for line in required] == ["torch"]


def test_the_installed_library_does_what_the_readme_shows(installed):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(import torchvision\n.*?)```", readme, re.DOTALL)[1]
    printed = python(installed, example + "\nprint(attn.__file__)", banned=SOURCES[1:])
    table, _, file = printed.rstrip().rpartition("\n")
    assert table in readme
    assert Path(file).is_relative_to(installed)


def test_the_library_works_where_torch_alone_is_installed(metadata):
    extras = (line for line in metadata.get_all("Requires-Dist") if "extra ==" in line)
    banned = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in extras}
    banned |= {"hydra", "PIL", "yaml", "sklearn"}  # that their packages have other names
    banned -= {"numpy", "setuptools"}  # torch itself asks for them
    code = """
import importlib, pkgutil
import attn, torch

for found in pkgutil.walk_packages(attn.__path__, "attn."):
    importlib.import_module(found.name)
print(attn.SE(32)(torch.ones(2, 32, 4, 4)).shape)
"""
    assert "torch.Size([2, 32, 4, 4])" in python(ROOT, code, banned)
