import ctypes

import pytest

from engine import environment as allocator


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
