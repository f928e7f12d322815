"""A command that did its work ends with its own exit code, whatever its threads do."""

import subprocess
import sys

import pytest

ENDS = """
import atexit, sys, threading, time
from mmpnet.console.command import end_with

class Shutdown:
    def __del__(self):
        sys.stderr.write("Python shuts down\\n")

def app():
    if {hangs}:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    sys.stdout.write("result")
    sys.exit({code})

shutdown = Shutdown()
atexit.register(lambda: sys.stdout.write(" cleaned"))
end_with(app)
"""


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("hangs", [True, False])
def test_a_thread_that_waits_in_a_library_does_not_see_the_shutdown(hangs: bool, code: int) -> None:
    """It would come back meanwhile and abort the process, with exit code 134 after a good run."""
    command = [sys.executable, "-c", ENDS.format(hangs=hangs, code=code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (code, "result cleaned")
    assert ("Python shuts down" in done.stderr) == (not hangs)


def test_a_thread_of_a_caller_does_not_end_its_process() -> None:
    """The threads of a program that calls a command, such as those of an earlier camera, are not the command's."""
    code = """
import sys, threading, time
from mmpnet.console.command import end_with

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
try:
    end_with(lambda: sys.exit(3))
except SystemExit as ended:
    print("the caller goes on", ended.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "the caller goes on 3\n")
