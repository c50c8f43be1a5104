"""The network of a configuration, tried out before any data is read."""

import copy

import torch
from omegaconf import DictConfig
from torch import nn

from engine.distributed.ranks import SINGLE_PROCESS, Ranks
from engine.errors import ConfigError
from scripts.cli.app import build


def network(cfg: DictConfig, ranks: Ranks = SINGLE_PROCESS) -> nn.Module:
    """What `cfg.model` describes, its weights drawn by `cfg.seed`.

    Its batch norms span the `ranks` if `cfg.syncbn`. ConfigError where it cannot take the images of
    `cfg.data`.
    """
    if cfg.syncbn and cfg.compile:
        raise ConfigError(
            f"compile={cfg.compile}: not with syncbn=true, whose norms talk in between"
        )
    for key in ("num_classes", "image_size"):
        here, there = cfg.model.get(key), cfg.data[key]
        if here not in (None, there):
            raise ConfigError(f"model.{key}={here}: the data has {there}; leave it out")
    torch.manual_seed(cfg.seed)
    model = build(cfg.model)
    side = cfg.data.image_size
    images = torch.empty(2, 3, side, side, device="meta")  # no memory, and nothing is computed
    try:
        with torch.no_grad():
            copy.deepcopy(model).to("meta").eval()(images)
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(
            f"model: it cannot take images of {side}x{side} pixels: {first}"
        ) from error
    return ranks.convert_sync_batchnorm(model) if cfg.syncbn else model
