import pytest
import torch
from hydra import compose, initialize_config_dir

from engine.errors import ConfigError
from scripts.cli.build_model import build_network
from scripts.cli.compose import build
from scripts.cli.overrides import CONF


@pytest.fixture(autouse=True, scope="module")
def _hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def conf(*overrides):
    return compose("train", ["model=resnet20", "data=digits", *overrides])


def built(*overrides):
    torch.manual_seed(0)
    return build_network(conf(*overrides))


def test_the_trial_changes_neither_the_network_nor_the_random_stream():
    net, draws = built(), torch.rand(3)
    torch.manual_seed(0)
    plain = build(conf().model)
    assert torch.equal(draws, torch.rand(3))
    assert net.training
    there, here = plain.state_dict(), net.state_dict()
    assert all(torch.equal(value, here[name]) for name, value in there.items())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["compile=default", "syncbn=true"], "compile=default: not with syncbn=true"),
        (["model.num_classes=5"], "model.num_classes=5: the data has 10; leave it out"),
        (["model.image_size=16"], "model.image_size=16: the data has 32; leave it out"),
        (
            ["fusion._target_=attn.SE"],
            "model: it cannot take images of 32x32 pixels: TypeError: SE.forward",
        ),
        (["attn=bam", "attn.dilation=0"], "model: dilation must be positive, got 0"),
        (
            ["attn=se", "model=mobilenet_v1", "sites=[branch,identity]"],
            "sites: MobileNetV1 has no site identity in the chosen stages",
        ),
        (
            ["attn=se", "sites=[branch,{stage: [3]}]"],
            "sites: ResNet has no site stage in the chosen stages",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(overrides, words):
    with pytest.raises(ConfigError) as refused:
        built(*overrides)
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)
