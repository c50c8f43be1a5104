import os
import signal
import subprocess
import sys

import pytest

from engine.signals import SIGNALS, Interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_acted_on_between_two_steps(number):
    saved = []
    with Interruption(lambda: saved.append(True)) as interruption:
        interruption.check()
        os.kill(os.getpid(), number)
        assert not saved
        with pytest.raises(SystemExit) as exit_:
            interruption.check()
    assert saved == [True]
    assert exit_.value.code == 128 + number


def test_afterwards_the_signals_are_as_before():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption(print):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_second_signal_ends_at_once():
    code = (
        "import os, signal\n"
        "from engine.signals import Interruption\n"
        "with Interruption(print):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('too late')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 143
    assert ended.stdout == ""
