import pytest

from engine.errors import ConfigError
from scripts.benchmarks.grid import Combination, combinations


def test_every_value_with_every_other_and_attention_fastest():
    found = combinations({"attn": "none,nam", "model": "a,b"}, None)
    assert [one.name for one in found] == [
        f"{model} fp32 channels_last {attn}" for model in ("a", "b") for attn in ("none", "nam")
    ]
    assert len(combinations({"precision": "fp32,bf16", "mode": "nchw,channels_last"}, None)) == 12


def test_the_reference_is_one_for_all_precisions_and_modes():
    said = {"attn": "none,nam", "precision": "fp32,bf16"}
    found = [one.name for one in combinations(said, "published")]
    assert found[4:] == ["resnet18 fp32 published none", "resnet18 fp32 published nam"]
    nothing_new = combinations(said | {"mode": "published"}, "published")
    assert len(nothing_new) == 4


def test_the_reference_is_not_compiled():
    found = [one.name for one in combinations({"attn": "nam", "compile": "default"}, "nchw")]
    assert found[1:] == ["resnet18 fp32 nchw compile=null nam"]


def test_plain_is_without_the_options_of_attention():
    chosen = Combination({"model": "a", "attn.reduction": "8", "sites": "[post]", "attn": "se"})
    assert chosen.plain.options == {"model": "a", "sites": "[post]", "attn": "none"}


@pytest.mark.parametrize(("said", "against"), [({"mode": "nhwc"}, None), ({}, "nhwc")])
def test_modes_that_are_not_there_are_refused(said, against):
    with pytest.raises(ConfigError, match="mode=nhwc: choose from channels_last, nchw, published"):
        combinations(said, against)
