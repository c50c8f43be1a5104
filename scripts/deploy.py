"""Try the ways out of PyTorch, such as ONNX: `python scripts/deploy.py model=a,b attn=none,c`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

import itertools
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError
from scripts.cli.app import refuse, run_app
from scripts.cli.compose import build, compose_run
from scripts.cli.overrides import CONF, Overrides, choices, split_words
from scripts.cli.type_check import check_options

if TYPE_CHECKING:  # torch: not before the names are checked
    from torch import nn

OWN = {*OmegaConf.load(CONF / "deploy.yaml")} - {"defaults"}  # all other options are train.py's
OPTIONS = {"ways": Sequence[str] | None}
DEFAULTS = {"data": "digits", "data.image_size": "64", "model": "resnet50", "attn": "none"}
IMAGES = 4
LIBRARIES = ("torchvision", "timm")


def main(overrides: Overrides, cfg: DictConfig) -> None:
    """Print a line of a Markdown table for each network, as soon as it was tried."""
    check_options(OmegaConf.to_container(cfg), OPTIONS)
    chosen = DEFAULTS | overrides
    pairs = list(itertools.product(models_of(chosen["model"]), choices("attn", chosen["attn"])))
    configs = [composed(chosen, *pair) for pair in pairs]
    from engine.benchmark.deployment import WAYS

    ways = list(cfg.ways or WAYS)
    if unknown := [way for way in ways if way not in WAYS]:
        raise ConfigError(f"ways has {unknown[0]}: choose from {', '.join(WAYS)}")
    print(f"| model | attn | {' | '.join(ways)} |\n|---|---|{'---|' * len(ways)}")
    for (model, attention), config in zip(pairs, configs, strict=True):
        cells = [model, attention, *outcomes(model, config, ways)]
        print(f"| {' | '.join(cells)} |", flush=True)


def models_of(text: str) -> list[str]:
    """The networks in `model=text`; `timm/NAME` is a network of that library."""
    return text.split(",") if "/" in text else choices("model", text)


def composed(overrides: Overrides, model: str, attention: str) -> DictConfig:
    """The configuration of a network; for one of a library, of the attention alone."""
    own = {} if "/" in model else {"model": model}
    rest = {key: value for key, value in overrides.items() if key != "model"}
    return compose_run(rest | own | {"attn": attention}, OWN)[0]


def outcomes(name: str, cfg: DictConfig, ways: Collection[str]) -> list[str]:
    """What became of the network on each way; of one that cannot be built, the reason."""
    import torch

    from engine.benchmark.deployment import outcome

    torch.manual_seed(0)
    images = torch.randn(IMAGES, 3, cfg.data.image_size, cfg.data.image_size)
    try:
        model = (library_network(name, cfg) if "/" in name else build(cfg.model)).train()
        with torch.no_grad():
            for _ in range(3):
                model(images)  # running statistics like those of a trained network
    except (ConfigError, ValueError) as refusal:
        return [str(refusal), *[""] * (len(ways) - 1)]
    return [outcome(way, model.eval(), images).replace("|", "\\|") for way in ways]


def library_network(name: str, cfg: DictConfig) -> nn.Module:
    """A network of a library, or the backbone of a detector, with attention as layers."""
    import attn

    library, _, name = name.partition("/")
    if library not in LIBRARIES:
        raise ConfigError(f"model={library}/{name}: choose from {', '.join(LIBRARIES)}")
    model = of_timm(name) if library == "timm" else of_torchvision(name)
    for site in cfg.sites:
        attn.attach(model, build(cfg.attn), site)
    return attn.bake(model)


def of_timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name)


def of_torchvision(name: str) -> nn.Module:
    """The network with random weights; of a detector, whose input is a list, the backbone."""
    import torchvision

    builder = torchvision.models.get_model_builder(name)
    is_whole = "weights_backbone" not in builder.__annotations__
    model = builder(weights=None) if is_whole else builder(weights=None, weights_backbone=None)
    return model.backbone if hasattr(model, "transform") else model


if __name__ == "__main__":
    try:
        sys.argv[1:], said = split_words(sys.argv[1:], OWN)
    except ConfigError as refusal:
        sys.exit(refuse(str(refusal)))
    run_app(partial(main, said), "deploy")
