"""A mistake in a module of one's own is told with file, line and kind."""

import pytest
from hydra import compose, initialize_config_dir

import attn
from engine.errors import ConfigError
from scripts.cli.build_model import build_network
from scripts.cli.compose import check_names
from scripts.cli.overrides import CONF
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
    "no_colon": (HEAD.replace("):\n    def", ")\n    def"), ":4: SyntaxError: expected ':'"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_users_file_and_line_are_named(name, mine):
    source, words = SOURCES[name]
    (mine / f"{name}.py").write_text(source)
    with pytest.raises(ConfigError) as refused:
        built(name)
    message = str(refused.value)
    assert f"{name}.py:" in message
    assert words in message
    assert "\n" not in message


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"there is no file attn/nowhere\.py"):
        built("nowhere")


def test_a_class_that_is_not_in_the_file_is_named(mine):
    (mine / "other.py").write_text(INIT.replace("Mine", "Yours"))
    with pytest.raises(ConfigError, match=r"attn\.other\.Mine is not a class of attn\.other"):
        built("other")
