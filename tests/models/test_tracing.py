"""torch.fx can read networks of every kind, although their blocks may end fused."""

import pytest
import torch
from hydra import compose, initialize_config_dir

from scripts.cli.compose import build
from scripts.cli.overrides import CONF

NAMES = (  # one of each kind of block and of each stem
    "resnet18", "resnet50", "resnet56", "aff_resnet32", "aff_resnext29", "preact_resnet164",
    "resnext50_32x4d", "mobilenet_v1", "mobilenet_v2", "mobilenet_v2_pytorch_cifar100",
    "mobilenet_v3_small",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.mark.parametrize("name", NAMES)
def test_torch_fx_sees_the_whole_network(name):
    cfg = compose("train", [f"model={name}", "data=digits"])
    with torch.device("meta"):
        model = build(cfg.model).eval()
    traced = torch.fx.symbolic_trace(model)
    assert traced(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)
    assert dict(traced.named_parameters()).keys() == dict(model.named_parameters()).keys()
