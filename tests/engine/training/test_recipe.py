import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attn import NAM
from engine.training.recipe import Recipe, penalty
from engine.training.schedule import Constant, Cosine, OneCycle, Step
from engine.transforms.batch import Compose, CropFlip, Identity
from engine.transforms.crop import ResizedCrop
from engine.transforms.randaugment import RandAugment

SGD = partial(torch.optim.SGD, momentum=0.9)


def recipe(**options):
    given = {"epochs": 10, "batch_size": 4, "lr": 0.5, "optimizer": SGD, "schedule": Constant()}
    return Recipe(**given | options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("warmup_epochs", 10),
        ("label_smoothing", 1.0),
        ("sparsity", -1e-4),
        ("randaugment", 31),
        ("mixup", -1.0),
        ("cutmix", float("inf")),
        ("accumulate", 0),
        ("accumulate", 3),
        ("clip_norm", 0.0),
        ("ema", 1.0),
    ],
)
def test_values_out_of_range_are_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"^{option} must be .*, got {value}"):
        recipe(**{option: value})


def test_the_last_batch_is_smaller_but_never_one_image():
    assert [recipe().steps_per_epoch(n) for n in (8, 9, 10, 12)] == [2, 2, 3, 3]


def test_warm_up_rises_linearly_to_the_scheduled_rate():
    slow = recipe(warmup_epochs=2, schedule=Step([5], 0.1))
    rates = [slow.lr_at(step, 4) for step in range(40)]
    assert rates[:8] == pytest.approx([0.5 * (k + 1) / 8 for k in range(8)])
    assert rates[8:20] == [0.5] * 12
    assert rates[20:] == pytest.approx([0.05] * 20)


@pytest.mark.parametrize("schedule", [Cosine(), OneCycle()])
def test_a_smooth_schedule_moves_the_rate_with_every_step(schedule):
    rates = [recipe(schedule=schedule).lr_at(step, 5) for step in range(50)]
    assert rates == pytest.approx([0.5 * schedule(step / 5, 10) for step in range(50)])
    assert len(set(rates)) == 50


def test_half_a_cosine_over_all_steps():
    rates = [recipe(schedule=Cosine()).lr_at(step, 5) for step in range(50)]
    assert rates == pytest.approx([0.25 * (1 + math.cos(math.pi * s / 50)) for s in range(50)])


def test_randaugment_follows_the_crop_in_memory_and_while_images_are_read():
    second = RandAugment(6)
    in_memory, streamed = CropFlip(3, flip=False), ResizedCrop(scale=(0.5, 1.0), flip=False)
    assert recipe(augment=in_memory, randaugment=6).augmentation == Compose(in_memory, second)
    expected = ResizedCrop(scale=(0.5, 1.0), flip=False, then=second)
    assert recipe(augment=streamed, randaugment=6).augmentation == expected
    for augment in (in_memory, streamed, Identity()):
        assert recipe(augment=augment).augmentation == augment


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_of_16_bit_logits_is_computed_in_32_bits(dtype):
    logits, labels = torch.randn(6, 5).to(dtype), torch.randint(5, (6,))
    loss = recipe().loss(nn.Identity(), logits, labels)
    assert loss.dtype is torch.float32
    assert loss.equal(F.cross_entropy(logits.float(), labels))


def test_loss_is_smoothed_cross_entropy():
    logits, labels = torch.randn(6, 5), torch.randint(5, (6,))
    smooth = 0.1
    target = F.one_hot(labels, 5) * (1 - smooth) + smooth / 5
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    loss = recipe(label_smoothing=smooth).loss(nn.Identity(), logits, labels)
    torch.testing.assert_close(loss, expected)


def test_without_decay_of_norms_only_the_weights_of_layers_decay():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = partial(torch.optim.SGD, weight_decay=0.1)
    (one,) = recipe(optimizer=optimizer).make_optimizer(net).param_groups
    assert one["weight_decay"] == 0.1
    decaying, free = recipe(optimizer=optimizer, decay_norms=False).make_optimizer(net).param_groups
    assert (decaying["weight_decay"], free["weight_decay"]) == (0.1, 0)
    assert decaying["params"] == [net[0].weight, net[3].weight]
    assert free["params"] == [net[0].bias, net[1].weight, net[1].bias, net[3].bias]


def test_an_optimizer_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="LBFGS needs a closure"):
        recipe(optimizer=torch.optim.LBFGS).make_optimizer(nn.Linear(2, 2))


def test_no_part_of_a_batch_is_a_single_image():
    whole = recipe(batch_size=16, accumulate=4)
    assert [whole.parts(n) for n in (16, 9, 8, 7, 5, 3, 2, 1)] == [4, 4, 4, 3, 2, 1, 1, 1]


def test_sparsity_adds_p_times_the_sum_of_nams_scales():
    net = nn.Sequential(NAM(4), nn.BatchNorm2d(4), NAM(4))  # a plain BN must not count
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn_like(p))
    scales = [net[0].channel.bn.weight, net[2].channel.bn.weight]
    logits, labels = torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64)
    added = recipe(sparsity=0.01).loss(net, logits, labels) - recipe().loss(net, logits, labels)
    torch.testing.assert_close(added, 0.01 * sum(s.abs().sum() for s in scales))
    penalty(net).backward()
    assert all(s.grad.equal(s.detach().sign()) for s in scales)
    assert net[1].weight.grad is None
