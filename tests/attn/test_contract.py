"""The promises that every mechanism keeps."""

import copy
import inspect
from functools import partial

import pytest
import torch
from torch import nn

import attn

CHANNELS = 32
FITTING = {"shuffle": {"groups": 4}, "ema": {"groups": 4}}  # options that fit 32 channels
MECHANISMS = {
    name: mechanism.factory(**FITTING.get(name, {}))
    for name, mechanism in attn.names().items()
    if mechanism.slot == "site" and name != "dia"
} | {
    "dia": lambda channels, stage=None: nn.Sequential(
        *map(attn.DIA(), [channels] * 2, [stage] * 2)  # DIA recurs only over several blocks
    ),
    "bam-add": partial(attn.BAM, combine="add"),
    "eca-by-stage": partial(attn.ECA, kernel_size=(3, 5)),
    "nam-spatial": partial(attn.NAM, spatial=True),
}


@pytest.fixture(params=MECHANISMS)
def build(request):
    """build(height, width): the mechanism, with the facts that it asks a network for."""
    factory = MECHANISMS[request.param]
    asked = inspect.signature(factory).parameters

    def built(height: int = 6, width: int = 6) -> nn.Module:
        facts = {"stage": 2, "size": (height, width)}
        torch.manual_seed(0)
        return factory(CHANNELS, **{name: facts[name] for name in facts if name in asked})

    return built


@pytest.fixture
def seasoned(build):
    """The same in eval mode after three training steps: no gate is at its initial value."""

    def trained(height: int = 6, width: int = 6) -> nn.Module:
        module = build(height, width)
        train(module, images(height, width), steps=3)
        return module.eval()

    return trained


def images(height: int = 6, width: int = 6, n: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, CHANNELS, height, width, generator=generator)


def train(module, x, steps):
    """Train toward a fixed random target, so that no gradient is zero by symmetry."""
    target = images(*x.shape[2:], n=2 * len(x))[len(x) :]
    parameters = list(module.parameters())
    optimizer = torch.optim.SGD(parameters or [torch.zeros(1)], lr=0.5)
    for _ in range(steps):
        loss = ((module(x) - target) ** 2).mean()
        optimizer.zero_grad()
        if parameters:
            loss.backward()
        optimizer.step()


def test_every_public_module_has_a_name():
    others = {
        attn.names,
        attn.attach,
        attn.bake,
        attn.detach,
        attn.gained,
        attn.rename_keys,
        attn.Gain,
        attn.WithGain,
        attn.Mechanism,
        attn.FusedEpilogue,
        nn.Identity,
    }
    public = {getattr(attn, name) for name in attn.__all__} | {nn.Identity}
    assert {m.module for m in attn.names().values()} == public - others | {nn.Identity}


def test_names_tell_paper_slot_and_options():
    nam, aff = attn.names()["nam"], attn.names()["aff"]
    assert nam.paper.startswith("NAM: Normalization-based Attention Module (Liu et al., 2021)")
    assert (nam.slot, nam.options) == ("site", {"spatial": False})
    assert aff.slot == "fusion"
    assert set(aff.options) == {"reduction", "factor"}
    assert "reduction=16" in str(attn.names()["se"])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("height", "width"), [(6, 6), (3, 8), (8, 3), (1, 5)])
def test_shape_is_kept(build, height, width, training):
    x = images(height, width)
    y = build(height, width).train(training)(x)
    assert y.shape == x.shape
    assert y.isfinite().all()


def test_one_pixel_is_a_map(seasoned):
    x = images(1, 1)
    y = seasoned(1, 1)(x)
    assert y.shape == x.shape
    assert y.isfinite().all()


def test_input_is_left_as_it_was(build):
    x = images()
    before = x.clone()
    build()(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("training", [True, False])
def test_gradient_reaches_the_whole_input(build, training):
    x = images().requires_grad_()
    (build().train(training)(x) ** 2).sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad != 0).all()


def test_an_image_does_not_see_the_others_at_evaluation(seasoned):
    module, x = seasoned(), images()
    together = module(x)
    alone = torch.cat([module(image[None]) for image in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_evaluation_leaves_the_state_alone(seasoned):
    module = seasoned()
    before = copy.deepcopy(module.state_dict())
    module(images())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_memory_layout_changes_nothing(seasoned, training):
    module = seasoned().train(training)
    twin = copy.deepcopy(module).to(memory_format=torch.channels_last)
    x = images().requires_grad_()
    x_nhwc = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    y, y_nhwc = module(x), twin(x_nhwc)
    assert y_nhwc.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, y_nhwc, rtol=0, atol=1e-5)
    (y**2).sum().backward()
    (y_nhwc**2).sum().backward()
    torch.testing.assert_close(x.grad, x_nhwc.grad, rtol=0, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_bfloat16_stays_close(seasoned, training):
    module, x = seasoned().train(training), images()
    exact = module(x.bfloat16().float())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)


def test_double_stays_double(build):
    assert build().double()(images().double()).dtype == torch.double


def test_state_dict_is_the_whole_module(build, seasoned):
    trained, fresh, x = seasoned(), build().eval(), images()
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(x), trained(x))


def test_copy_is_independent(seasoned):
    module, x = seasoned(), images()
    twin = copy.deepcopy(module)
    before = module(x)
    train(twin.train(), x, steps=1)
    assert torch.equal(module(x), before)


def test_deterministic_algorithms_suffice_and_repeat(build):
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(2):
            x = images().requires_grad_()
            (build()(x) ** 2).sum().backward()
            gradients.append(x.grad)
    finally:
        torch.use_deterministic_algorithms(was)
    assert torch.equal(*gradients)


def test_training_moves_every_weight(build):
    """Except biases before a batch norm, which have no effect."""
    module = build()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    train(module, images(), steps=3)
    for name, p in module.named_parameters():
        assert p.grad is not None, name
        assert p.isfinite().all(), name
        assert name.endswith("bias") or not torch.equal(p, before[name]), name


def test_one_image_alone_is_measured(seasoned):
    x = images(n=1)
    assert seasoned()(x).shape == x.shape


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_it_can_be_exported(seasoned):
    module, x = seasoned(), images()
    exported = torch.export.export(module, (x,)).module()
    assert torch.equal(exported(x), module(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_it_compiles_to_one_graph(build):
    torch.compiler.reset()
    module, x = build(), images()
    compiled = torch.compile(copy.deepcopy(module), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), module(x))
