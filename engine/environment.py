"""The machine a run is on: its device, what torch is told about it, its name, the revision."""

import ctypes
import os
import platform
import subprocess
from pathlib import Path

import torch

from engine.errors import ConfigError

ROOT = Path(__file__).parents[1]
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let malloc keep what a step frees, so that the next finds it, where the C library is glibc.

    By default large activations go back to the system as soon as they are freed, and each step
    takes new pages, which the system first fills with zeros: on two cores an eighth of a
    ResNet-50's step. The process stays as large as its largest step. Elsewhere it does nothing.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - only glibc has it
    except (AttributeError, OSError, TypeError):
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)


def prepare_device(name: str) -> str:
    """The device of that name, set up to give the same numbers twice; "auto" prefers a GPU."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        name = accelerator.type if accelerator else "cpu"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs 8 %
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
    try:
        found = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name} cannot be used: {str(error).splitlines()[0]}") from error
    if found.type == "meta":
        raise ConfigError(f"device={name} holds no numbers: choose cpu, cuda or mps")
    if found.type == "cpu":
        keep_freed_memory()
    if found.type == "cuda":
        torch.cuda.set_device(found)
        torch.cuda.reset_peak_memory_stats(name)  # the runs of one sweep share a process
    return name


def peak_memory_mb(device: torch.device) -> float | None:
    """What the accelerator's tensors took at most; None on a CPU, where nothing counts them."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) / 2**20


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def revision() -> str:
    """The commit of the source, with a + if it was changed since; "unknown" outside of git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
