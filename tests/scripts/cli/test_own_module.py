"""The message about a mistake in a user's module has file, line and kind."""

import importlib

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

import attn
import models
from engine.errors import ConfigError
from scripts.cli.app import run_app
from scripts.cli.build_model import build_network
from scripts.cli.compose import check_names
from scripts.cli.overrides import CONF, split_words
from scripts.cli.own_module import DEBUG, print_trace, take_debug
from scripts.cli.targets import _parse, _path, options

HEAD = (
    "from torch import nn\n\n\nclass Mine(nn.Module):\n    def __init__(self, channels, width=3):\n"
)
INIT = HEAD + "        super().__init__()\n"


@pytest.fixture
def mine(tmp_path):
    """A folder whose files are modules of the package attn."""
    attn.__path__.append(str(tmp_path))
    yield tmp_path
    attn.__path__.remove(str(tmp_path))
    for cached in (options, _parse, _path):
        cached.cache_clear()


def built(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = [f"++attn._target_=attn.{name}.Mine", "sites=[branch]", "model=resnet20"]
        cfg = compose("train", ["data=digits", *words])
        check_names(cfg, cfg)
        return build_network(cfg)


SOURCES = {
    "unknown_name": (HEAD + "        self.width = channel\n", ":6: NameError: name 'channel' is"),
    "wrong_import": ("from torch import nnn\n" + INIT, ":1: ImportError: cannot import name 'nnn'"),
    "wrong_shape": (
        INIT + "\n    def forward(self, x):\n        return x.reshape(1, 2, 3)\n",
        "RuntimeError: shape '[1, 2, 3]' is invalid",
    ),
    "wrong_attribute": (
        INIT + "\n    def forward(self, x):\n        return x * self.gate\n",
        "AttributeError: 'Mine' object has no attribute 'gate'",
    ),
    "missing_argument": (
        INIT + "        self.conv = nn.Conv2d(channels, channels)\n",
        ":7: TypeError: Conv2d.__init__() missing 1 required positional argument",
    ),
    "even_kernel": (
        INIT
        + "        self.conv = nn.Conv2d(channels, channels, 4, padding=2)\n"
        + "\n    def forward(self, x):\n        return x * self.conv(x).sigmoid()\n",
        ":10: RuntimeError: ",
    ),
    "other_shape": (
        INIT + "\n    def forward(self, x):\n        return x[:, :1]\n",
        "Mine returned a map (2, 1, 32, 32) for a map (2, 16, 32, 32); at the site branch",
    ),
    "no_output": (INIT + "\n    def forward(self, x):\n        x + 1\n", "returned a NoneType"),
    "no_colon": (HEAD.replace("):\n    def", ")\n    def"), ":4: SyntaxError: expected ':'"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_users_file_and_line_are_named(name, mine):
    source, words = SOURCES[name]
    (mine / f"{name}.py").write_text(source)
    with pytest.raises(ConfigError) as refused:
        built(name)
    message = str(refused.value)
    assert message.startswith(str(mine / f"{name}.py:"))
    assert words in message
    assert "\n" not in message


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"there is no file attn/nowhere\.py"):
        built("nowhere")


def test_a_class_that_is_not_in_the_file_is_named(mine):
    (mine / "other.py").write_text(INIT.replace("Mine", "Yours"))
    with pytest.raises(
        ConfigError, match=r"Mine is not a class of attn\.other; \S+other\.py has Yours"
    ):
        built("other")


def test_a_message_of_the_module_is_given_without_a_line(mine):
    (mine / "strict.py").write_text(INIT + '        raise ValueError("width must be odd")\n')
    with pytest.raises(ConfigError, match=r"^model: width must be odd$"):
        built("strict")


@pytest.mark.parametrize(
    ("slot", "signature", "calls"),
    [
        ("conv", "channels, width", "Mine(in_channels, out_channels, stride, groups)"),
        ("norm", "a, b", "Mine(channels)"),
        ("fusion", "a, b", "Mine(channels)"),
    ],
)
def test_a_constructor_that_does_not_fit_its_slot_is_told_what_the_slot_passes(
    slot, signature, calls
):
    scope = {"nn": nn}
    exec(f"class Mine(nn.Module):\n    def __init__(self, {signature}):\n        pass", scope)
    with pytest.raises(TypeError) as refused:
        models.resnet20(num_classes=10, slots=models.Slots(**{slot: scope["Mine"]}))
    said = f"the slot {slot} calls {calls}, but the constructor takes ({signature}): "
    assert said in str(refused.value)


def test_debug_prints_the_own_lines_alone(mine, monkeypatch, capsys):
    monkeypatch.setenv(DEBUG, "")
    assert take_debug(["seed=1", "debug=true", "attn=nam"]) == ["seed=1", "attn=nam"]
    (mine / "traced.py").write_text(SOURCES["missing_argument"][0])
    with pytest.raises(ConfigError) as refused:
        built("traced")
    print_trace(refused.value)
    trace = capsys.readouterr().err
    assert "nn.Conv2d(channels, channels)" in trace
    assert "models/slots.py" in trace
    assert "torch/nn" not in trace
    assert "scripts/cli" not in trace
    take_debug(["debug=false"])
    print_trace(refused.value)
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match="debug=maybe: expected true or false"):
        take_debug(["debug=maybe"])


def test_every_command_takes_debug():
    assert split_words(["debug=true", "seed=1"], ["json"]) == (["debug=true"], {"seed": "1"})


def test_an_error_of_a_module_while_a_command_runs_is_one_line(mine, monkeypatch, capsys):
    (mine / "late.py").write_text(INIT + "\n    def forward(self, x):\n        return x.gate\n")
    module = importlib.import_module("attn.late")

    def task(cfg):
        module.Mine(4)(torch.zeros(1))

    monkeypatch.setattr("sys.argv", ["eval.py", "run=there"])
    with pytest.raises(SystemExit) as ended:
        run_app(task, "eval")
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "late.py:9: AttributeError: 'Tensor' object has no attribute 'gate'\n" in said
    assert said.count("\n") == 1
