"""Keep freed memory for the next step, on a CPU."""

import ctypes

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
