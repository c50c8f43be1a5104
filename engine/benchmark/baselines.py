"""Loaders and loops of usual training scripts, and ours in the same form, to be compared.

A loop over the batches in bare torch; and torchvision's transforms on PIL images, of CIFAR and of
photographs in files, as the worker of a DataLoader applies them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from engine.benchmark.timing import Workload
from engine.datasets.in_memory import Images
from engine.datasets.stream import ReadOptions, Stream
from engine.rng import permutation
from engine.storage.checkpoint import Writer
from engine.training.loop import EVALUATION_BATCH, evaluate, train_epoch
from engine.training.run import Run
from engine.transforms.batch import Augment, CropFlip, Identity
from engine.transforms.crop import Crop, ResizedCrop
from engine.transforms.normalize import STATISTICS, Normalize


def random_images(count: int, size: int, classes: int, device: torch.device | str) -> Images:
    """Random images in place of a data set: they take the same time and need no files."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, size, size, 3)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    return Images(pixels, labels, tuple(map(str, range(classes)))).to(device)


def our_loader(
    images: Images, augment: Augment, normalize: Normalize, batch_size: int, batches: int
) -> Workload:
    """Make `batches` for the network: augmented in training, and normalized."""
    device = images.labels.device
    parts = permutation(0, 0, len(images), device)[: batch_size * batches].split(batch_size)

    def load(how: Augment) -> None:
        for pixels, _ in images.batches(parts, how, 0, 0):
            normalize(pixels)

    count = sum(map(len, parts))
    return Workload(lambda: load(augment), lambda: load(Identity()), count, device)


def torchvision_loader(
    images: Images, augment: CropFlip, normalize: Normalize, batch_size: int, batches: int
) -> Workload:
    """The same batches by a DataLoader and PIL, in one thread, as in one worker.

    The images do not go from one process to another, which a worker's do.
    """
    chosen = range(min(len(images), batch_size * batches))
    train, infer = (
        DataLoader(Subset(Pictures(images, how), chosen), batch_size)
        for how in torchvision_transforms(images.pixels.shape[1], augment, normalize)
    )

    def load(loader: DataLoader) -> None:
        with _one_thread():
            for _ in loader:
                pass

    return Workload(lambda: load(train), lambda: load(infer), len(chosen), torch.device("cpu"))


class Pictures(Dataset):
    """Like torchvision's CIFAR: an array becomes a PIL image, and then `transform` is applied."""

    def __init__(self, images: Images, transform: transforms.Compose) -> None:
        self.pixels, self.labels = images.pixels.cpu().numpy(), images.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def torchvision_transforms(
    size: int, augment: CropFlip, normalize: Normalize
) -> tuple[transforms.Compose, transforms.Compose]:
    """torchvision's transforms for training and inference, of the same distribution as ours."""
    start = [transforms.RandomCrop(size, padding=augment.padding)]
    start += [transforms.RandomHorizontalFlip()] * augment.flip
    end = [transforms.ToTensor(), transforms.Normalize(*STATISTICS[normalize.statistics])]
    return transforms.Compose(start + end), transforms.Compose(end)


def our_reader(stream: Stream, crop: ResizedCrop, count: int) -> Workload:
    """Decode and crop the first `count` images of `stream`, as one worker does."""
    alone = replace(stream, reading=replace(stream.reading, workers=0))
    parts = torch.arange(min(len(stream), count)).split(32)

    def read(how: Augment | Crop) -> None:
        with _one_thread():
            for _ in alone.batches(parts, how, 0, 0):
                pass

    read_all = partial(read, crop), partial(read, Identity())
    return Workload(*read_all, sum(map(len, parts)), torch.device("cpu"))


def torchvision_reader(stream: Stream, crop: ResizedCrop, count: int) -> Workload:
    """The same images by torchvision, one by one, as bytes, as a worker returns them."""
    paths = [stream.files.path(i) for i in range(min(len(stream), count))]

    def read(transform: transforms.Compose) -> None:
        with _one_thread():
            for path in paths:
                transform(default_loader(path))

    read_all = (partial(read, how) for how in reading_transforms(stream.reading, crop))
    return Workload(*read_all, len(paths), torch.device("cpu"))


def reading_transforms(
    reading: ReadOptions, crop: ResizedCrop
) -> tuple[transforms.Compose, transforms.Compose]:
    """The transforms of torchvision's reference scripts, for training and for inference."""
    train = [transforms.RandomResizedCrop(reading.image_size, crop.scale, crop.ratio)]
    train += [transforms.RandomHorizontalFlip()] * crop.flip
    infer = [transforms.Resize(reading.resize), transforms.CenterCrop(reading.image_size)]
    end = [transforms.PILToTensor()]
    return transforms.Compose(train + end), transforms.Compose(infer + end)


def our_loop(run: Run, images: Images, normalize: Normalize) -> Workload:
    """An epoch by engine.training.loop; in inference, an evaluation."""

    def train() -> None:
        run.epoch = 0
        train_epoch(run, images, normalize, _no_check)
        run.next_epoch()

    def infer() -> None:
        evaluate(run, images, normalize, _no_check)

    return Workload(train, infer, len(images), run.device)


def epoch_without_steps(run: Run, images: Images, normalize: Normalize) -> Workload:
    """What an epoch does beside its steps: order of the images, checks, summary. One "image" is
    one epoch; in inference, one whole checkpoint: checks, copy, and the write of the thread."""
    steps = run.recipe.steps_per_epoch(len(images))

    def train() -> None:
        run.epoch, run.step = 0, steps
        run.losses = torch.zeros(steps, device=run.device)
        train_epoch(run, images, normalize, _no_check)
        run.next_epoch()

    def save() -> None:
        with TemporaryDirectory() as folder, Writer(Path(folder), 0) as writer:
            run.start_saving(writer)

    return Workload(train, save, 1, run.device)


def plain_torch_loop(run: Run, images: Images, normalize: Normalize) -> Workload:
    """The updates of `our_loop`, from the same batches, in plain PyTorch."""
    model, recipe, optimizer = run.model, run.recipe, run.optimizer
    steps = recipe.steps_per_epoch(len(images))

    def train() -> None:
        model.train()
        order = permutation(run.seeds.order, 0, len(images), run.device).split(recipe.batch_size)[
            :steps
        ]
        batches = images.batches(order, recipe.augmentation, run.seeds.augment, 0)
        for step, (pixels, labels) in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(step, steps)
            optimizer.zero_grad(set_to_none=True)
            with run.autocast():
                logits = run.forward(normalize(pixels))
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

    @torch.inference_mode()
    def infer() -> Tensor:
        model.eval()
        right = torch.zeros((), dtype=torch.int64, device=run.device)
        order = torch.arange(len(images), device=run.device).split(EVALUATION_BATCH)
        for pixels, labels in images.batches(order, Identity(), 0, 0):
            with run.autocast():
                right += (model(normalize(pixels)).argmax(1) == labels).sum()
        return right

    return Workload(train, infer, len(images), run.device)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _no_check() -> None:
    pass
