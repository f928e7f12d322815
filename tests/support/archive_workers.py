"""Workers of an archive that wait for one another."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.runtime.inference.detector import Detector

LONGEST_WAIT_S = 120.0


def detector_after_all_started(*arguments: Any, folder: Path, workers: int, **named: Any) -> Detector:
    """A detector that opens when as many processes as `workers` have begun to open one.

    Raises: TimeoutError if they do not.
    """
    wait_for_others(folder, workers)
    return Detector(*arguments, **named)


class DetectorAfterAllBegan(Detector):
    """A detector whose first batch waits until as many processes as `workers` have a batch.

    Raises: TimeoutError if they have none.
    """

    def __init__(self, *arguments: Any, folder: Path, workers: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._others = folder, workers

    def batch(self, frames_bgr: Sequence[UInt8Array]) -> list[Detections]:
        wait_for_others(*self._others)
        return super().batch(frames_bgr)


def wait_for_others(folder: Path, workers: int) -> None:
    """Wait until as many processes as `workers` have called this. Raises: TimeoutError if they do not."""
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    ends_s = time.monotonic() + LONGEST_WAIT_S
    while len(list(folder.iterdir())) < workers:
        if time.monotonic() > ends_s:
            raise TimeoutError(f"{len(list(folder.iterdir()))} of {workers} workers started")
        time.sleep(0.05)
