"""Build the network of a configuration, and try it before any data is read."""

import copy
import inspect

import torch
from omegaconf import DictConfig, ListConfig
from torch import nn

from engine.distributed.ranks import SINGLE_PROCESS, Ranks
from engine.errors import ConfigError, first_line, place, short
from engine.seeds import Seeds
from scripts.cli.compose import build
from scripts.cli.own_module import error_of_module


def build_network(cfg: DictConfig, ranks: Ranks = SINGLE_PROCESS) -> nn.Module:
    """The network of `cfg.model`, its weights drawn from the seed of the initial weights.

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
    torch.manual_seed(Seeds.of(cfg).init)
    model = build(cfg.model)
    _require_sites(model, cfg.sites, cfg.get("gain", 1))
    side = cfg.data.image_size
    shape = (2, channels, side, side)
    images = torch.empty(shape, device="meta")  # takes no memory, computes nothing
    try:
        with torch.no_grad():
            _with_checked_sites(copy.deepcopy(model)).to("meta").eval()(images)
    except (RuntimeError, TypeError, ValueError, LookupError, NameError, AttributeError) as error:
        raise ConfigError(
            error_of_module(error)
            or f"model: it cannot take images of {side}x{side} pixels: "
            f"{type(error).__name__}: {first_line(error)} ({place(error)})"
        ) from error
    return ranks.convert_sync_batchnorm(model) if cfg.syncbn else model


def _require_sites(model: nn.Module, sites: ListConfig | DictConfig, gain: float) -> None:
    """ConfigError if a site is nowhere in the network, or no attention is there for the gain."""
    there = {getattr(module, "attention_site", None) for module in model.modules()}
    parts = [sites] if isinstance(sites, DictConfig) else sites
    chosen = [name for part in parts for name in ([part] if isinstance(part, str) else part)]
    if gain != 1 and there == {None}:
        raise ConfigError(f"gain={gain}: this network has attention at no site; leave it out")
    if missing := [name for name in chosen if name not in there]:
        raise ConfigError(
            f"sites: {type(model).__name__} has no site {missing[0]} in the chosen stages: choose "
            "another site, or see docs/extending.md for a network of your own"
        )


def _with_checked_sites(model: nn.Module) -> nn.Module:
    """`model`, whose modules at sites have to return maps of the shape that they get."""
    for module in model.modules():
        if hasattr(module, "attention_site"):
            module.register_forward_hook(_require_same_shape)
    return model


def _require_same_shape(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
    given, got = (tuple(getattr(x, "shape", ())) for x in (inputs[0], output))
    if given != got:
        name, file = type(module).__name__, short(inspect.getfile(type(module)))
        what = f"a map {got}" if got else f"a {type(output).__name__}"
        raise ConfigError(
            f"{file}: {name} returned {what} for a map {given}; at the site "
            f"{module.attention_site}, a module returns the shape that it gets"
        )
