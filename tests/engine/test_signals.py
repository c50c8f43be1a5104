import subprocess
import sys

import pytest

from engine.signals import SIGNALS


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_of_the_loop_they_end_the_process_and_what_it_holds_is_released(number):
    code = (
        "import os, sys\n"
        "from engine.signals import exit_on_signals\n"
        "exit_on_signals()\n"
        "try:\n"
        "    os.kill(os.getpid(), int(sys.argv[1]))\n"
        "finally:\n"
        "    print('released')\n"
    )
    command = [sys.executable, "-c", code, str(int(number))]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 128 + number
    assert ended.stdout == "released\n"
    assert ended.stderr.strip() == f"{number.name}: leaving; run the same command to go on"
