"""The machine of a run: its device and how torch uses it, its name, the revision of the source."""

import ctypes
import os
import platform
import subprocess
from pathlib import Path

import torch

from engine.errors import ConfigError, first_line

ROOT = Path(__file__).parents[1]
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Make glibc keep the memory of a step for the next step; other C libraries do nothing.

    By default large activations go back to the system as soon as they are freed, and each step
    takes new pages, which the system first fills with zeros: on two cores an eighth of the step of
    a ResNet-50. The process stays as large as its largest step.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - only glibc has it
    except (AttributeError, OSError, TypeError):
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)


def prepare_device(name: str, deterministic: bool = True) -> str:
    """The device of that name, set up for training; "auto" prefers a GPU to the CPU.

    `deterministic` gives the same bits every time; without it cuDNN times its algorithms and takes
    the fastest. ConfigError if the device cannot be used.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        name = accelerator.type if accelerator else "cpu"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it for equal bits
    # As use_deterministic_algorithms, which imports torch's compiler: a second of every start.
    torch.set_deterministic_debug_mode("warn" if deterministic else "default")
    torch.backends.cudnn.benchmark = not deterministic
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs 8 %
    try:
        found = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name} cannot be used: {first_line(error)}") from error
    if found.type == "meta":
        raise ConfigError(f"device={name} holds no numbers: choose cpu, cuda or mps")
    if found.type == "cpu":
        keep_freed_memory()
    if found.type == "cuda":
        torch.cuda.set_device(found)
        torch.cuda.reset_peak_memory_stats(name)  # the runs of one sweep share a process
    return name


def slow_precision(device: torch.device, precision: str) -> str | None:
    """Why `precision` is slow on `device`, and a faster choice, in one line; None if it is not."""
    if device.type == "cpu":
        if precision == "bf16" and not _cpu_has_bf16():
            return "precision=bf16 is emulated on this CPU and many times slower than fp32"
        return None
    if device.type != "cuda":
        return None
    ampere = torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "bf16" and not ampere:
        return "precision=bf16 is emulated on this GPU; precision=fp16 is fast on it"
    if precision == "strict_fp32" and ampere:
        return "precision=strict_fp32 turns TF32 off, which makes convolutions 3 to 8 times slower"
    return None


def _cpu_has_bf16() -> bool:
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def peak_memory_mb(device: torch.device) -> float | None:
    """The most memory that tensors took on a GPU, in MiB; None on other devices."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) / 2**20


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def revision() -> str:
    """The commit of the source, with a + if files were changed since; "unknown" without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
