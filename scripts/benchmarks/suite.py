"""The workloads of `scripts/speed.py`: the rows of its table, and all measured beside them."""

from dataclasses import dataclass, field

import hydra
import torch
from omegaconf import DictConfig
from torch import nn

from engine.benchmark.baselines import (
    epoch_without_steps,
    our_loader,
    our_loop,
    our_reader,
    plain_torch_loop,
    random_images,
    torchvision_loader,
    torchvision_reader,
)
from engine.benchmark.modules import modules_alone, shapes
from engine.benchmark.published_forms import FORMS, use_published_form
from engine.benchmark.roofline import convolutions, convolutions_alone, matrix_product
from engine.benchmark.timing import Workload
from engine.complexity import cost
from engine.datasets.dataset import ImageDataset
from engine.datasets.imagenet import ImageNet
from engine.datasets.in_memory import Images
from engine.environment import prepare_device
from engine.errors import ConfigError, as_config_error
from engine.seeds import Seeds
from engine.training.graph import use_graphs
from engine.training.run import PRECISIONS, Run
from engine.transforms.batch import CropFlip
from engine.transforms.crop import Crop, ResizedCrop
from report.speed import SpeedRow
from scripts.benchmarks.grid import Combination
from scripts.cli.compose import build

IMAGES = 10_000  # in memory: as few of them as of a data set fit into a cache
IMAGES_READ = 125  # at most this many files in one measurement
BESIDE = "epoch without steps"
BATCHES = 8  # in one measurement of a loader or of a loop


@dataclass
class BenchmarkSuite:
    """Workloads by name. `against` is the mode that every row is compared with, if any."""

    batch_size: int
    against: str | None = None
    workloads: dict[str, Workload] = field(default_factory=dict)
    loaders: dict[str, str] = field(default_factory=dict)  # our loader -> torchvision's loader

    def add(self, combination: Combination) -> SpeedRow:
        """Add the workloads of one combination; return its row, which names them."""
        raise NotImplementedError

    def _row(self, combination: Combination, **compared: str | int | None) -> SpeedRow:
        """The row of `combination`; `compared` are fields of SpeedRow."""
        others = {"plain": combination.plain}
        if self.against:
            others["against"] = combination.reference(self.against)
        names = {key: other.name for key, other in others.items() if other != combination}
        return SpeedRow(combination.name, combination.options, **names, **compared)

    def _build(self, combination: Combination) -> tuple[DictConfig, Run]:
        cfg = combination.compose(self.batch_size)
        try:
            seeds = Seeds.of(cfg)
            torch.manual_seed(seeds.init)
            model = build(cfg.model)
            if combination.mode.published:
                _use_published_form(model, cfg)
            device, recipe = prepare_device(cfg.device), build(cfg.recipe)
            run = Run(model, recipe, seeds, device, cfg.precision, compile=cfg.compile)
        except ConfigError as refusal:
            raise ConfigError(f"{combination.name}: {refusal}") from refusal
        run.model.to(memory_format=_memory_format(combination))
        return cfg, run

    def _add_loader(
        self, combination: Combination, cfg: DictConfig, dataset: ImageDataset, run: Run
    ) -> str | None:
        """The loader of the network's batches; for streamed images, one of its worker processes."""
        options, augment = combination.only("data", "recipe").name, run.recipe.augmentation
        if isinstance(augment, Crop):
            return self._add_reader(f"a worker reading {options}", dataset, augment)
        name = f"batches from memory {options}".strip()
        if name not in self.workloads:
            images, size = _random_images(cfg, run, IMAGES), (self.batch_size, BATCHES)
            self.workloads[name] = our_loader(images, augment, dataset.normalize, *size)
            if isinstance(augment, CropFlip):
                self.loaders[name] = f"{name}, by PIL"
                usual = torchvision_loader(images, augment, dataset.normalize, *size)
                self.workloads[self.loaders[name]] = usual
        return name

    def _add_matrix_product(self, run: Run) -> str:
        name = f"{run.precision} matrix product"
        if name not in self.workloads:
            self.workloads[name] = matrix_product(run.device, PRECISIONS[run.precision])
        return name

    def _add_reader(self, name: str, dataset: ImageDataset, crop: Crop) -> str | None:
        """None for a data set without files: random numbers cannot stand for image files."""
        if not isinstance(dataset, ImageNet) or not isinstance(crop, ResizedCrop):
            return None
        if name not in self.workloads:
            with as_config_error("data"):
                stream = dataset.load("train")
            self.loaders[name] = f"{name}, by torchvision"
            self.workloads[name] = our_reader(stream, crop, IMAGES_READ)
            self.workloads[self.loaders[name]] = torchvision_reader(stream, crop, IMAGES_READ)
        return name


class Networks(BenchmarkSuite):
    """Steps of training and of inference, their lower bounds, and the loader of the images."""

    def add(self, combination: Combination) -> SpeedRow:
        cfg, run = self._build(combination)
        size, dataset = cfg.data.image_size, build(cfg.data)
        self.workloads[combination.name] = Workload.of(
            run, size, cfg.data.num_classes, self.batch_size, _memory_format(combination)
        )
        return self._row(
            combination,
            macs=cost(run.model, size).macs,
            convolutions=self._add_convolutions(combination, run),
            arithmetic=self._add_matrix_product(run),
            loader=self._add_loader(combination, cfg, dataset, run),
        )

    def _add_convolutions(self, combination: Combination, run: Run) -> str:
        """The convolutions of the plain network: attention's own are part of attention's cost."""
        name = f"{combination.plain.name} convolutions alone"
        if name not in self.workloads:
            cfg = combination.plain.compose(self.batch_size)
            with torch.device("meta"):
                counts = convolutions(build(cfg.model), cfg.data.image_size)
            how = (run.device, PRECISIONS[run.precision], _memory_format(combination))
            self.workloads[name] = convolutions_alone(counts, self.batch_size, *how)
        return name


class Modules(BenchmarkSuite):
    """The attention modules of a network, each on the shapes of its inputs, without the network."""

    def add(self, combination: Combination) -> SpeedRow:
        if combination.options.get("compile", "null") != "null":
            raise ConfigError("what=modules measures modules one by one: leave out compile=")
        cfg, run = self._build(combination)
        found = shapes(run.model, _attention_classes(cfg), cfg.data.image_size)
        if not found:
            raise ConfigError(f"{combination.name}: there is no attention module to measure alone")
        self.workloads[combination.name] = modules_alone(
            run, found, self.batch_size, _memory_format(combination)
        )
        return self._row(combination)


class Loops(BenchmarkSuite):
    """An epoch of training and an evaluation, by engine.training and by a plain PyTorch loop."""

    def add(self, combination: Combination) -> SpeedRow:
        plain, beside = (f"{combination.name} {what}" for what in ("plain PyTorch loop", BESIDE))
        cfg, run = self._build(combination)
        normalize = build(cfg.data).normalize
        images = _random_images(cfg, run, BATCHES * self.batch_size)
        self.workloads[beside] = epoch_without_steps(run, images, normalize)
        self.workloads[plain] = plain_torch_loop(self._build(combination)[1], images, normalize)
        use_graphs(run, {"train": images}, normalize, cfg.graph)
        self.workloads[combination.name] = our_loop(run, images, normalize)
        return self._row(
            combination,
            loop=plain,
            beside=beside,
            macs=cost(run.model, cfg.data.image_size).macs,
            arithmetic=self._add_matrix_product(run),
            loader=self._add_loader(combination, cfg, build(cfg.data), run),
        )


SUITES = {"networks": Networks, "modules": Modules, "loop": Loops}  # by the option `what`


def _use_published_form(model: nn.Module, cfg: DictConfig) -> None:
    ours = _attention_class(cfg)
    if ours and cfg.attn._target_ not in FORMS:
        raise ConfigError("mode=published has forms of nam, se, eca and cbam alone")
    if ours:
        use_published_form(model, ours, FORMS[cfg.attn._target_])


def _random_images(cfg: DictConfig, run: Run, count: int) -> Images:
    return random_images(count, cfg.data.image_size, cfg.data.num_classes, run.device)


def _attention_class(cfg: DictConfig) -> type[nn.Module] | None:
    """The class of the network's attention; None for a plain network."""
    if cfg.attn is None or cfg.attn._target_ == "torch.nn.Identity":
        return None
    return hydra.utils.get_class(cfg.attn._target_)


def _attention_classes(cfg: DictConfig) -> tuple[type[nn.Module], ...]:
    """The class of the network's attention, and its published form if there is one."""
    ours = _attention_class(cfg)
    return tuple(filter(None, [ours, FORMS.get(cfg.attn._target_)])) if ours else ()


def _memory_format(combination: Combination) -> torch.memory_format:
    return getattr(torch, combination.mode.memory_format)
