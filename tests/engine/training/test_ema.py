import copy

import pytest
import torch
from torch import nn

from engine.training.ema import ModelEMA, NoEMA


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def shaken(model, step):
    """The state of the model after a random update of its weights and statistics."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for p in model.parameters():
            p += torch.randn(p.shape, generator=generator)
    model(torch.randn(2, 3, 5, 5, generator=generator, dtype=torch.float64))
    return copy.deepcopy(model.state_dict())


def test_every_weight_and_statistic_is_averaged():
    model = net().double()
    average = ModelEMA(model, decay=0.5)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(12):
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in shaken(model, step).items():
            expected[name] = decay * expected[name] + (1 - decay) * value
        average.update(model, step)
    for name, value in average.state_dict().items():
        if name == "1.num_batches_tracked":
            assert value == 12
        else:
            torch.testing.assert_close(value, expected[name])


def test_the_average_shares_nothing_with_the_network_and_is_not_trained():
    model = net()
    average = ModelEMA(model, 0.9)
    own = {p.data_ptr() for p in model.parameters()}
    assert all(p.data_ptr() not in own and not p.requires_grad for p in average.model.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_a_tensor_that_two_modules_share_is_averaged_once():
    layer = nn.Linear(2, 2).double()
    model = nn.Sequential(layer, layer)
    average = ModelEMA(model, 0.5)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight += 1
    average.update(model, step=100)
    torch.testing.assert_close(average.model[0].weight, before + 0.5)


@pytest.mark.parametrize("step", [0, 1, 5])
def test_at_first_the_average_follows_quickly(step):
    model = nn.Linear(1, 1, bias=False)
    average = ModelEMA(model, 0.9999)
    start = model.weight.item()
    with torch.no_grad():
        model.weight += 1
    average.update(model, step)
    assert average.model.weight.item() - start == pytest.approx(9 / (10 + step), rel=1e-5)


def test_without_an_average_the_network_itself_is_measured():
    model = net()
    latest = NoEMA(model)
    latest.update(model, 0)
    assert latest.model is model
    assert latest.state_dict() == {}
