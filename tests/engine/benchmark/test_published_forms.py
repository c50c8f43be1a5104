import copy

import pytest
import torch
from torch import nn

import attn
from engine.benchmark.published_forms import FORMS, use_published_form
from engine.errors import ConfigError

OURS = {"NAM": attn.NAM, "SE": attn.SE, "ECA": attn.ECA, "CBAM": attn.CBAM}


def pair(kind):
    """One of our modules with random parameters, and its published form with the same ones."""
    torch.manual_seed(0)
    ours = nn.Sequential(OURS[kind](16)).double()
    for name, value in ours.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value))
    published = copy.deepcopy(ours)
    assert use_published_form(published, OURS[kind], FORMS[f"attn.{kind}"]) == 1
    return ours, published


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", OURS)
def test_ours_and_the_published_form_compute_the_same(kind, training):
    ours, published = pair(kind)
    x = torch.randn(3, 16, 4, 5, dtype=torch.double, requires_grad=True)
    weights = torch.randn_like(x)
    results = []
    for module in (ours.train(training), published.train(training)):
        y = module(x)
        learned = sorted(module.parameters(), key=lambda p: (p.shape, p.flatten()[0].item()))
        results.append([y, *torch.autograd.grad((weights * y).sum(), [x, *learned])])
        statistics = [b for _, b in sorted(module.named_buffers(), key=lambda n: n[0][-12:])]
        results[-1] += statistics
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    assert type(published[0]) is not type(ours[0])


def test_every_form_has_the_name_of_a_module():
    assert FORMS.keys() == {f"attn.{kind}" for kind in OURS}


@pytest.mark.parametrize(
    "other",
    [attn.NAM(16, spatial=True, size=(4, 4)), attn.CBAM(16, order="spatial-first"),
     attn.CBAM(16, pools=["avg"])],
)  # fmt: skip
def test_options_without_a_published_form_are_refused(other):
    ours = type(other)
    with pytest.raises(ConfigError, match="published form"):
        use_published_form(nn.Sequential(other), ours, FORMS[f"attn.{ours.__name__}"])


def test_a_module_of_another_class_stays():
    model = nn.Sequential(attn.BAM(16), nn.Identity())
    assert use_published_form(model, attn.SE, FORMS["attn.SE"]) == 0
