"""Build the network of a configuration, and try it before any data is read."""

import copy

import torch
from omegaconf import DictConfig
from torch import nn

from engine.distributed.ranks import SINGLE_PROCESS, Ranks
from engine.errors import ConfigError, first_line, place
from scripts.cli.compose import build


def build_network(cfg: DictConfig, ranks: Ranks = SINGLE_PROCESS) -> nn.Module:
    """The network of `cfg.model`, its weights drawn from `cfg.seed`.

    With `cfg.syncbn`, batch norm spans all `ranks`. ConfigError if the network cannot take the
    images of `cfg.data`, or has no attention for the gain.
    """
    if cfg.syncbn and cfg.compile:
        raise ConfigError(
            f"compile={cfg.compile}: not with syncbn=true, whose batch norms exchange messages"
        )
    channels = cfg.data.get("channels", 3)
    needs = {key: cfg.data[key] for key in ("num_classes", "image_size")}
    for key, needed in (needs | {"in_channels": channels}).items():
        given = cfg.model.get(key)
        if given not in (None, needed):
            raise ConfigError(f"model.{key}={given}: the data has {needed}; leave it out")
    torch.manual_seed(cfg.seed)
    model = build(cfg.model)
    if cfg.get("gain", 1) != 1 and not any(hasattr(m, "attention_site") for m in model.modules()):
        raise ConfigError(f"gain={cfg.gain}: this network has attention at no site; leave it out")
    side = cfg.data.image_size
    images = torch.empty(
        2, channels, side, side, device="meta"
    )  # takes no memory, computes nothing
    try:
        with torch.no_grad():
            copy.deepcopy(model).to("meta").eval()(images)
    except (RuntimeError, TypeError, ValueError, LookupError, NameError, AttributeError) as error:
        raise ConfigError(
            f"model: it cannot take images of {side}x{side} pixels: "
            f"{type(error).__name__}: {first_line(error)} ({place(error)})"
        ) from error
    return ranks.convert_sync_batchnorm(model) if cfg.syncbn else model
