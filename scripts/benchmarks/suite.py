"""The workloads of `scripts/speed.py`: all that the rows of its table are compared with."""

from dataclasses import dataclass, field
from typing import Any

import hydra
import torch
from omegaconf import DictConfig
from torch import nn

from engine.benchmark.baselines import (
    our_loader,
    our_loop,
    our_reader,
    plain_torch_loop,
    random_images,
    torchvision_loader,
    torchvision_reader,
)
from engine.benchmark.modules import modules_alone, shapes
from engine.benchmark.published_forms import FORMS, use_published_forms
from engine.benchmark.roofline import convolutions, convolutions_alone, matrix_product
from engine.benchmark.timing import Workload
from engine.complexity import cost
from engine.datasets.dataset import ImageDataset
from engine.datasets.imagenet import ImageNet
from engine.datasets.in_memory import Images
from engine.environment import prepare_device
from engine.errors import ConfigError, as_config_error
from engine.training.run import PRECISIONS, Run
from engine.transforms.batch import CropFlip
from engine.transforms.crop import Crop, ResizedCrop
from scripts.benchmarks.grid import MODES, compose, name, plain, within
from scripts.cli.app import build
from scripts.tables.plan import Overrides

IMAGES = 10_000  # in memory, so that they are no more in a cache than those of a data set
IMAGES_READ = 125  # from files in one go, at most
BATCHES = 8  # in one go of a loader, or of a loop

Beside = dict[str, Any]  # the fields of a row of report.speed: whom it is compared with


@dataclass
class BenchmarkSuite:
    """Contestants by name. Each method adds one, and those it is compared with, which it names."""

    batch_size: int
    workloads: dict[str, Workload] = field(default_factory=dict)
    loaders: dict[str, str] = field(default_factory=dict)  # the usual loader beside ours

    def networks(self, chosen: Overrides) -> Beside:
        """Steps of training and of inference, the floors of both, and what loads the images."""
        cfg, run = self._new_run(chosen)
        size = cfg.data.image_size
        self.workloads[name(chosen)] = Workload.of(
            run, size, cfg.data.num_classes, self.batch_size, _memory_format(chosen)
        )
        return {
            "macs": cost(run.model, size).macs,
            "convolutions": self._convolutions(chosen, run),
            "arithmetic": self._arithmetic(run),
            "loader": self._loader(chosen, cfg, run),
        }

    def modules(self, chosen: Overrides) -> Beside:
        """The attention of the network by itself."""
        if chosen.get("compile", "null") != "null":
            raise ConfigError(
                "what=modules runs modules one by one, as they are: leave out compile="
            )
        cfg, run = self._new_run(chosen)
        found = shapes(run.model, _attention(cfg), cfg.data.image_size)
        if not found:
            raise ConfigError(
                f"{name(chosen)}: there is no module of attention to be measured alone"
            )
        layout = _memory_format(chosen)
        self.workloads[name(chosen)] = modules_alone(run, found, self.batch_size, layout)
        return {}

    def loop(self, chosen: Overrides) -> Beside:
        """An epoch of training and an evaluation, by engine.training.loop and by a bare loop."""
        bare = f"{name(chosen)} bare loop"
        for which, loop in ((name(chosen), our_loop), (bare, plain_torch_loop)):
            cfg, run = self._new_run(chosen)
            images = _images(cfg, run, BATCHES * self.batch_size)
            self.workloads[which] = loop(run, images, build(cfg.data).normalize)
        return {"loop": bare, "loader": self._loader(chosen, cfg, run)}

    def _new_run(self, chosen: Overrides) -> tuple[DictConfig, Run]:
        cfg = compose(chosen, self.batch_size)
        try:
            torch.manual_seed(cfg.seed)
            model = build(cfg.model)
            if (
                MODES[chosen["mode"]].restated
                and not use_published_forms(model)
                and chosen["attn"] != "none"
            ):
                raise ConfigError("only nam, se, eca and cbam are restated as they were published")
            device, recipe = prepare_device(cfg.device), build(cfg.recipe)
            run = Run(model, recipe, cfg.seed, device, cfg.precision, compile=cfg.compile)
        except ConfigError as refusal:
            raise ConfigError(f"{name(chosen)}: {refusal}") from refusal
        run.model.to(memory_format=_memory_format(chosen))
        return cfg, run

    def _convolutions(self, chosen: Overrides, run: Run) -> str:
        """Those of the plain network: what attention adds to them is part of its cost."""
        shared = plain(chosen)
        which = f"{name(shared)} convolutions alone"
        if which not in self.workloads:
            cfg = compose(shared, self.batch_size)
            with torch.device("meta"):
                counts = convolutions(build(cfg.model), cfg.data.image_size)
            how = (run.device, PRECISIONS[run.precision], _memory_format(chosen))
            self.workloads[which] = convolutions_alone(counts, self.batch_size, *how)
        return which

    def _arithmetic(self, run: Run) -> str:
        which = f"{run.precision} matrix product"
        if which not in self.workloads:
            self.workloads[which] = matrix_product(run.device, PRECISIONS[run.precision])
        return which

    def _loader(self, chosen: Overrides, cfg: DictConfig, run: Run) -> str | None:
        """What gives the network its batches; where they are streamed, one worker of those."""
        source, augment = build(cfg.data), run.recipe.augmentation
        options, normalize = name(within(chosen, "data", "recipe")), source.normalize
        if isinstance(augment, Crop):
            return self._streamed(f"a worker reading {options}", source, augment)
        which = f"batches from memory {options}".strip()
        if which not in self.workloads:
            images, size = _images(cfg, run, IMAGES), (self.batch_size, BATCHES)
            self.workloads[which] = our_loader(images, augment, normalize, *size)
            if isinstance(augment, CropFlip):
                self.loaders[which] = f"{which}, by PIL"
                usual = torchvision_loader(images, augment, normalize, *size)
                self.workloads[self.loaders[which]] = usual
        return which

    def _streamed(self, which: str, source: ImageDataset, crop: Crop) -> str | None:
        """None where there are no images: noise in memory does not stand for files."""
        if not isinstance(source, ImageNet) or not isinstance(crop, ResizedCrop):
            return None
        if which not in self.workloads:
            with as_config_error("data"):
                stream = source.load("train")
            self.loaders[which] = f"{which}, by torchvision"
            self.workloads[which] = our_reader(stream, crop, IMAGES_READ)
            self.workloads[self.loaders[which]] = torchvision_reader(stream, crop, IMAGES_READ)
        return which


def _images(cfg: DictConfig, run: Run, count: int) -> Images:
    return random_images(count, cfg.data.image_size, cfg.data.num_classes, run.device)


def _attention(cfg: DictConfig) -> tuple[type[nn.Module], ...]:
    """What the attention of this network is made of, as it is or as it was published."""
    if cfg.attn is None or cfg.attn._target_ == "torch.nn.Identity":
        return ()
    ours = hydra.utils.get_class(cfg.attn._target_)
    published = FORMS.get(f"{ours.__module__}.{ours.__qualname__}")
    return (ours, published) if published else (ours,)


def _memory_format(chosen: Overrides) -> torch.memory_format:
    return getattr(torch, MODES[chosen["mode"]].memory_format)
