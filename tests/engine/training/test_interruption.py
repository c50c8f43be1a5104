import os
import signal
import subprocess
import sys

import pytest

from engine.signals import SIGNALS
from engine.training.interruption import Interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_ends_the_process_only_when_asked_for(number):
    with Interruption() as interruption:
        assert interruption.signal_or(0) == 0
        os.kill(os.getpid(), number)
        assert interruption.signal_or(0) == number
        interruption.number = None
    with pytest.raises(SystemExit, match=str(128 + number)), Interruption() as interruption:
        interruption.leave(number, "after epoch 1")


def test_a_signal_goes_before_any_other_request():
    with Interruption() as interruption:
        assert interruption.signal_or(1) == 1
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.signal_or(1) == signal.SIGINT
        interruption.number = None


def test_a_signal_after_the_last_step_counts_as_well(capfd):
    with pytest.raises(SystemExit, match="143"), Interruption():
        os.kill(os.getpid(), signal.SIGTERM)
    assert capfd.readouterr().err.split("\n") == [
        "",
        "SIGTERM: saving after this step",
        "",
        "SIGTERM: saved after the last epoch; run the same command to resume",
        "",
    ]


def test_afterwards_the_signal_handlers_are_the_ones_before():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_second_signal_ends_the_process_at_once():
    code = (
        "import os, signal\n"
        "from engine.training.interruption import Interruption\n"
        "with Interruption():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('too late')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 143
    assert ended.stdout == ""
