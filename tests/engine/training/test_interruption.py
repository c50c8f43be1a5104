import os
import signal
import subprocess
import sys

import pytest

from engine.signals import SIGNALS
from engine.training.interruption import Interruption


def with_signal(interruption, number, saved):
    with interruption:
        interruption.check()
        os.kill(os.getpid(), number)
        assert not saved
        interruption.check()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_acted_on_between_two_steps(number):
    saved = []
    interruption = Interruption(lambda: saved.append(True))
    with pytest.raises(SystemExit, match=str(128 + number)):
        with_signal(interruption, number, saved)
    assert saved == [True]


def test_one_that_comes_after_the_last_step_counts_as_well():
    saved = []
    with pytest.raises(SystemExit, match="143"), Interruption(lambda: saved.append(True)):
        os.kill(os.getpid(), signal.SIGTERM)
    assert saved == [True]


def test_afterwards_the_signals_are_as_before():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption(print):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_second_signal_ends_at_once():
    code = (
        "import os, signal\n"
        "from engine.training.interruption import Interruption\n"
        "with Interruption(print):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('too late')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 143
    assert ended.stdout == ""
