import ctypes

import pytest
import torch
from omegaconf import OmegaConf

import train
from engine import environment as allocator
from engine.distributed.ranks import SINGLE_PROCESS
from engine.environment import prepare_device, slow_precision


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


CPU, GPU = torch.device("cpu"), torch.device("cuda")
MACHINES = {  # the machine, what torch finds there, and whether bf16 is fast there
    "AVX2": ("x86_64", {}, False),
    "AVX-512 without bf16": ("AMD64", {"mkldnn"}, False),
    "AVX-512 with bf16": ("x86_64", {"avx512"}, True),
    "AMX": ("x86_64", {"amx"}, True),
    "Arm with bf16": ("aarch64", {"mkldnn"}, True),
    "Arm without bf16": ("arm64", {}, False),
}


@pytest.mark.parametrize("name", MACHINES)
def test_bf16_that_a_cpu_emulates_is_told_in_one_line(monkeypatch, name):
    machine, found, fast = MACHINES[name]
    monkeypatch.setattr(allocator.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: "avx512" in found)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: "amx" in found)
    monkeypatch.setattr(
        torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: "mkldnn" in found, raising=False
    )
    told = slow_precision(CPU, "bf16")
    assert (told is None) == fast
    assert fast or (told.startswith("precision=bf16 is emulated on this CPU") and "\n" not in told)
    assert slow_precision(CPU, "fp32") is slow_precision(CPU, "strict_fp32") is None


@pytest.mark.parametrize(
    ("capability", "slow"),
    [((7, 5), {"bf16": "precision=fp16 is fast"}), ((9, 0), {"strict_fp32": "turns TF32 off"})],
)
def test_a_precision_that_is_slow_on_a_gpu_is_told(monkeypatch, capability, slow):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    for precision in ("fp32", "strict_fp32", "bf16", "fp16"):
        told = slow_precision(GPU, precision)
        assert slow[precision] in told if precision in slow else told is None
