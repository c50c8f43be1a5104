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


def test_a_gain_multiplies_what_attention_at_sites_returns():
    net = built("attn=nam", "gain=2")
    gains = [m.gain for m in net.modules() if getattr(m, "attention_site", None)]
    assert gains == [2.0] * 9
    assert "layer1.0.branch.channel.bn.weight" in built("attn=nam").state_dict()
    with pytest.raises(ConfigError, match="gain=2: this network has attention at no site"):
        built("attn=aff", "gain=2")
    with pytest.raises(ConfigError, match="gain must be a positive number, got 0"):
        built("attn=nam", "gain=0")


def test_the_network_takes_the_channels_of_the_data(tmp_path):
    folder = ("data=folder", f"data.root={tmp_path}", "data.num_classes=2", "data.channels=1")
    assert built(*folder).conv1.in_channels == 1
    with pytest.raises(ConfigError, match=r"model.in_channels=3: the data has 1; leave it out"):
        built(*folder, "model.in_channels=3")


def test_only_the_seed_of_the_initial_weights_changes_the_initial_weights():
    def weights(*overrides):
        return build_network(conf(*overrides)).conv1.weight

    assert weights("seed=1").equal(weights("seed=0", "seed_init=1"))
    assert weights("seed=1", "seed_init=0").equal(weights("seed=0"))
    assert weights("seed_order=1", "seed_augment=1").equal(weights("seed=0"))
    assert not weights("seed=0").equal(weights("seed=1"))
