import ctypes

import pytest
import torch
from omegaconf import OmegaConf

import train
from engine import environment as allocator
from engine.distributed.ranks import SINGLE_PROCESS
from engine.environment import prepare_device


class Libc:
    def __init__(self, names):
        self.calls = []
        if "gnu_get_libc_version" in names:
            self.gnu_get_libc_version = None
        self.mallopt = lambda *option: self.calls.append(option)


@pytest.mark.parametrize(
    ("names", "calls"),
    [(["gnu_get_libc_version"], [(-4, 0), (-1, 2**31 - 1)]), ([], [])],
    ids=["glibc", "musl"],
)
def test_freed_memory_is_kept_where_the_library_is_glibc(monkeypatch, names, calls):
    libc = Libc(names)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    allocator.keep_freed_memory()
    assert libc.calls == calls


def test_where_there_is_no_such_library_nothing_happens(monkeypatch):
    def missing(name):
        raise TypeError("Windows wants a name")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    allocator.keep_freed_memory()


@pytest.fixture
def _switches(monkeypatch):
    """Restore the process-wide switches after each test."""
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: None)
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=True)
    torch.backends.cudnn.benchmark = before[1]


@pytest.mark.usefixtures("_switches")
@pytest.mark.parametrize("deterministic", [True, False])
def test_algorithms_are_deterministic_where_that_is_asked_for(deterministic):
    torch.use_deterministic_algorithms(not deterministic)
    torch.backends.cudnn.benchmark = deterministic
    assert prepare_device("cpu", deterministic) == "cpu"
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert torch.backends.cudnn.benchmark != deterministic


@pytest.mark.usefixtures("_switches")
def test_algorithms_are_deterministic_unless_something_else_is_said():
    torch.use_deterministic_algorithms(False)
    prepare_device("cpu")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_run_has_the_algorithms_that_its_configuration_asks_for(monkeypatch, deterministic):
    def stop(device, asked):
        raise InterruptedError(f"{device} {asked}")

    monkeypatch.setattr(allocator, "prepare_device", stop)
    cfg = OmegaConf.create({"device": "cpu", "deterministic": deterministic})
    with pytest.raises(InterruptedError, match=f"^cpu {deterministic}$"):
        train.train(cfg, None, SINGLE_PROCESS)
