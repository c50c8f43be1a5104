from functools import partial

import pytest
import torch
from torch import nn
from torchvision.datasets.folder import default_loader

from engine.benchmark.baselines import (
    Pictures,
    epoch_without_steps,
    our_loader,
    our_loop,
    our_reader,
    plain_torch_loop,
    random_images,
    reading_transforms,
    torchvision_loader,
    torchvision_reader,
    torchvision_transforms,
)
from engine.datasets.image_files import find
from engine.datasets.stream import ReadOptions, Stream
from engine.storage import checkpoint
from engine.training.recipe import Recipe
from engine.training.run import Run
from engine.training.schedule import Cosine
from engine.transforms.batch import CropFlip, Identity
from engine.transforms.crop import ResizedCrop
from engine.transforms.normalize import Normalize

NORMALIZE = Normalize("cifar100")


@pytest.fixture
def images():
    return random_images(20, 8, 3, "cpu")


def new_run():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                        nn.Linear(128, 3))  # fmt: skip
    recipe = Recipe(epochs=3, batch_size=8, lr=0.1, schedule=Cosine(), augment=CropFlip(padding=1),
                    optimizer=partial(torch.optim.SGD, momentum=0.9))  # fmt: skip
    return Run(net, recipe, 0, "cpu", "fp32")


def test_both_loops_make_the_same_updates_to_the_bit(images):
    ours, bare = new_run(), new_run()
    start = [p.clone() for p in ours.model.parameters()]
    for _ in range(2):  # the second epoch continues the first, in the same order
        our_loop(ours, images, NORMALIZE).train()
        plain_torch_loop(bare, images, NORMALIZE).train()
    ends = zip(ours.model.state_dict().values(), bare.model.state_dict().values(), strict=True)
    assert all(a.equal(b) for a, b in ends)
    assert not any(map(torch.equal, start, ours.model.parameters()))


def test_an_epoch_without_steps_changes_nothing_and_writes_a_checkpoint(images, monkeypatch):
    run, written = new_run(), []
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    workload = epoch_without_steps(run, images, NORMALIZE)
    for _ in range(2):
        workload.train()
    monkeypatch.setattr(checkpoint, "save", lambda folder, state: written.append(state["epoch"]))
    workload.infer()
    assert all(value.equal(before[name]) for name, value in run.model.state_dict().items())
    assert written == [1]


def test_both_evaluate_and_change_nothing(images):
    for loop in (our_loop, plain_torch_loop):
        run = new_run()
        before = {name: value.clone() for name, value in run.model.state_dict().items()}
        loop(run, images, NORMALIZE).infer()
        assert all(value.equal(before[name]) for name, value in run.model.state_dict().items())


def test_loaders_take_whole_batches_of_the_same_number_of_images(images):
    loaders = (our_loader(images, CropFlip(1), NORMALIZE, 4, 3),
               torchvision_loader(images, CropFlip(1), NORMALIZE, 4, 3))  # fmt: skip
    for loader in loaders:
        loader.train()
        loader.infer()
        assert loader.batch_size == 12


def test_pil_and_tensors_give_the_network_the_same_numbers(images):
    ((ours, labels),) = images.batches([torch.arange(20)], Identity(), 0, 0)
    for transform in torchvision_transforms(8, CropFlip(0, flip=False), NORMALIZE):
        pictures = [Pictures(images, transform)[i] for i in range(20)]
        pixels = torch.stack([picture for picture, _ in pictures])
        torch.testing.assert_close(pixels, NORMALIZE(ours), rtol=0, atol=1e-5)
        assert [label for _, label in pictures] == labels.tolist()


def test_both_crop_and_flip_in_training_alone(images):
    train, infer = torchvision_transforms(8, CropFlip(2), NORMALIZE)
    assert [type(t).__name__ for t in train.transforms[:2]] == [
        "RandomCrop",
        "RandomHorizontalFlip",
    ]
    assert train.transforms[0].padding == 2
    assert len(infer.transforms) == 2


def test_one_thread_while_it_loads_and_the_old_number_after(images):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torchvision_loader(images, CropFlip(1), NORMALIZE, 4, 1).train()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_readers_give_the_same_pixels_where_nothing_is_random(photos):
    files = find(photos / "train")
    stream = Stream(files, ReadOptions(16, 20, 1, 60), files.labels, files.classes)
    whole = ResizedCrop(scale=(1, 1), ratio=(0.1, 10), flip=False)
    ((ours, _),) = stream.batches([torch.arange(30)], Identity(), 0, 0)
    train, infer = reading_transforms(stream.reading, whole)
    usual = [infer(default_loader(files.path(i))).permute(1, 2, 0) for i in range(30)]
    assert torch.stack(usual).equal(ours)
    assert [type(t).__name__ for t in train.transforms] == ["RandomResizedCrop", "PILToTensor"]
    for reader in (our_reader, torchvision_reader):
        workload = reader(stream, ResizedCrop(), 7)
        workload.train()
        workload.infer()
        assert workload.batch_size == 7
