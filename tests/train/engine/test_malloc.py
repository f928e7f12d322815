"""The process keeps freed memory, if the C library has a setting for it."""

import ctypes
import subprocess
import sys

import pytest

from mmpnet.train.engine.malloc import keep_freed_memory

PROGRAM = """
import resource, sys
import numpy as np
from mmpnet.train.engine.malloc import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(8 << 20, np.float32)  # 32 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults_of_a_step()
print(faults_of_a_step())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")
def test_a_step_takes_its_memory_from_the_step_before() -> None:
    """Page faults of four arrays of 32 MB, 8,192 pages each, after four that were freed."""
    faults = {}
    for setting in ("returned", "kept"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, setting], capture_output=True, text=True, check=True)
        faults[setting] = int(done.stdout)
    assert faults["returned"] > 10 * max(faults["kept"], 1)


def test_elsewhere_nothing_is_asked_of_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_library(_name: object) -> None:
        raise TypeError("as ctypes.CDLL(None) does on Windows")

    monkeypatch.setattr(ctypes, "CDLL", no_such_library)
    monkeypatch.setattr(sys, "platform", "win32")
    assert not keep_freed_memory()
