"""Mistakes in a module of attn/, such as one's own: the message names its file and its line."""

import linecache
import os
import sys
import traceback
from collections.abc import Iterable

from engine.errors import ConfigError, first_line, is_installed, own_frames, place, short

DEBUG = "ATTNBENCH_DEBUG"  # set by debug=true; the processes of a sweep inherit it
CALLERS = ("attn.fused.", "attn.surgery.")  # they only call modules
COMMANDS = ("scripts", "train.py", "eval.py")


def error_of_module(error: BaseException) -> str | None:
    """`attn/mine.py:12: NameError: ...`, if the last own line of the error is in a module of attn/.

    None for another error, and for a message of the module: `raise ValueError(...)`.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [step for step in frames if not is_installed(step[0].f_code.co_filename)]
    if not own:
        return None
    frame, line = own[-1]
    name = frame.f_globals.get("__name__", "")
    source = linecache.getline(frame.f_code.co_filename, line).lstrip()
    is_message = own[-1] is frames[-1] and source.startswith("raise ")
    if is_message or not name.startswith("attn.") or name.startswith(CALLERS):
        return None
    return f"{place(error)}: {type(error).__name__}: {first_line(error)}"


def take_debug(words: Iterable[str]) -> list[str]:
    """The words without debug=true, which is noted for this process and its children.

    ConfigError for another value than true or false.
    """
    left = []
    for word in words:
        name, equals, value = word.lstrip("+").partition("=")
        if name != "debug" or not equals:
            left.append(word)
        elif value not in ("true", "false"):
            raise ConfigError(f"debug={value}: expected true or false")
        else:
            os.environ[DEBUG] = "1" if value == "true" else ""
    return left


def print_trace(error: BaseException) -> None:
    """With debug=true, print the lines that the error came through, without those of libraries."""
    if not os.environ.get(DEBUG):
        return
    while error.__cause__:
        error = error.__cause__
    frames = [f for f in own_frames(error) if not short(f.filename).startswith(COMMANDS)]
    print("".join(traceback.format_list(frames)), end="", file=sys.stderr)
