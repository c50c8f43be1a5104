import copy
import io
import math

import pytest
import torch
from torch import nn

from attn.dia import DIA, DIABlock
from models import Slots, resnet20, resnet164

BLOCKS = 3


def chain(reduction=2):
    """Three blocks of one stage in sequence."""
    make = DIA(reduction=reduction)
    return nn.Sequential(*[make(4, stage=1) for _ in range(BLOCKS)])


def step(slow, means, h, c):
    """One step of the cell on one image; h and c are lists over the channels."""

    def linear(name, values):
        return slow.linear(name, [values])[0]

    def mapped(name, values):
        return linear(f"0.cell.{name}.2", slow.relu(linear(f"0.cell.{name}.0", values)))

    logits = [a + b for a, b in zip(mapped("input", means), mapped("recurrent", h), strict=True)]
    size = len(means)
    i, f, g, o = (logits[size * k : size * (k + 1)] for k in range(4))
    c = [
        slow.sigmoid(f[k]) * c[k] + slow.sigmoid(i[k]) * math.tanh(g[k]) for k in range(len(means))
    ]
    return [slow.sigmoid(o[k]) * slow.sigmoid(c[k]) for k in range(size)], c


def formula(slow, x):
    states = [([0.0] * len(image), [0.0] * len(image)) for image in x]
    for _ in range(BLOCKS):
        means = slow.pooled(slow.mean, x)
        states = [step(slow, m, *state) for m, state in zip(means, states, strict=True)]
        gated = x
        x = slow.build(
            slow.shape(gated),
            lambda n, c, h, w: gated[n][c][h][w] * states[n][0][c],  # noqa: B023
        )
    return x


@pytest.mark.parametrize("training", [True, False])
def test_is_the_authors_formula(is_formula, training):
    is_formula(chain(), formula, training)


def test_gradients_are_numerical(gradients_are_numerical):
    gradients_are_numerical(chain(), training=True)


def test_gradient_goes_back_in_time():
    torch.manual_seed(0)
    make = DIA(reduction=1)
    first, second = make(8, 1), make(8, 1)
    x = torch.randn(2, 8, 3, 3, requires_grad=True)
    first(x)
    second(torch.randn(2, 8, 3, 3)).sum().backward()
    assert (x.grad != 0).all()


def test_every_forward_pass_starts_afresh(x):
    blocks = chain().double()
    before = blocks(x)
    blocks(torch.randn_like(x[:1]))
    blocks[0](x)  # a pass that ends after the first block
    with torch.no_grad():
        blocks.eval()(2 * x)
    assert torch.equal(blocks(x), before)


def test_nothing_is_kept_of_a_finished_pass(x):
    blocks = chain().double()
    blocks(x)
    assert blocks[0].chain.state is None


def test_a_block_does_not_run_without_the_one_before_it(x):
    blocks = chain().double()
    with pytest.raises(RuntimeError, match="a block ran without the one before it in its stage"):
        blocks[2](x)


def test_the_parameters_have_one_name_each():
    names = list(chain().state_dict())
    assert len(names) == 8
    assert all(name.startswith("0.cell.") for name in names)


def network(make=None):
    torch.manual_seed(0)
    return resnet20(num_classes=3, slots=Slots(make or DIA(), sites=["branch"])).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def cells(net):
    found = [m.chain.cell for m in net.modules() if isinstance(m, DIABlock)]
    return [id(cell) for cell in found]


def test_stages_have_a_cell_each():
    ids = cells(network())
    assert len(ids) == 9
    assert len(set(ids)) == 3
    assert all(len(set(ids[i : i + 3])) == 1 for i in (0, 3, 6))


def test_two_sites_of_different_width_have_a_cell_each():
    make = DIA()
    inner, branch, later = make(8, 1), make(32, 1), make(8, 1)
    assert later.chain is inner.chain
    assert branch.chain is not inner.chain


def test_networks_of_one_factory_share_nothing(images):
    make = DIA()
    first, second = network(make), network(make)
    assert not set(cells(first)) & set(cells(second))
    assert torch.equal(first(images), second(images))


def test_a_network_that_was_dropped_leaves_nothing_behind():
    make = DIA()
    make(8, 1)
    assert make(8, 1).first


@pytest.mark.parametrize("training", [True, False])
def test_a_copy_is_whole_and_independent(images, training):
    net = network().train(training)
    expected = copy.deepcopy(net)(images)
    twin = copy.deepcopy(net)
    assert torch.equal(net(images), expected)
    twin_after_a_pass = copy.deepcopy(net)
    assert not set(cells(net)) & set(cells(twin_after_a_pass))
    assert len(set(cells(twin_after_a_pass))) == 3
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    assert torch.equal(twin(images), expected)


def test_a_copy_in_the_middle_of_a_pass_starts_at_rest(x):
    blocks = chain().double()
    blocks[0](x)
    assert torch.equal(copy.deepcopy(blocks)(x), blocks(x))


def test_state_dict_is_the_whole_network(images):
    net, other = network(), network()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1)
    assert not torch.equal(other(images), net(images))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(images), net(images))


def test_a_saved_network_is_whole(images):
    net = network()
    expected = net(images)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(images), expected)


def test_another_type_reaches_every_block(images):
    net = network()
    expected = net(images)
    torch.testing.assert_close(net.double()(images.double()).float(), expected)


def test_the_class_is_not_the_module():
    with pytest.raises(TypeError, match="positional"):
        DIA(64)


def test_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        DIA(reduction=16)(8)


def test_resnet164_has_the_published_count():
    with torch.device("meta"):
        net = resnet164(num_classes=100, slots=Slots(DIA(), sites=["branch"]))
    assert sum(p.numel() for p in net.parameters()) == 1_946_132
