"""A file of counts in Prometheus' text format, for the textfile collector of its node exporter."""

import time
from collections.abc import Callable
from pathlib import Path

from mmpnet.archive.progress import Progress
from mmpnet.system.files import atomic_write, check_output

EVERY_S = 5.0
NAMES = {
    "frames": "Frames and images that were detected in.",
    "video_seconds": "Length of the videos that are done.",
    "images": "Images that are done.",
    "failures": "Files that could not be read completely.",
    "share": "Part of the work that is done, 0 to 1.",
    "left_seconds": "Estimated time until the end; NaN if nothing is done yet.",
    "running": "1 while the run goes on, 0 after it.",
}
"""Metrics of the file, which begin with mmpnet_archive_, and what they mean."""


class MetricsFile:
    """Writes the counts of a run, at most every EVERY_S seconds, and at its end.

    Raises: OutputError if the name does not end in .prom, which the exporter looks for, or its folder is missing.
    """

    def __init__(self, path: Path, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        check_output(path, (".prom",))
        self._path = path
        self._clock_s = clock_s
        self._written_s = float("-inf")
        self._last = Progress(total_s=0.0, total_images=0)

    def show(self, progress: Progress) -> None:
        """Write the counts of now if it is time. Raises: OutputError if the file cannot be written."""
        self._last = progress
        if self._clock_s() - self._written_s >= EVERY_S:
            self._written_s = self._clock_s()
            self._write(running=1)

    def close(self) -> None:
        """Write the last counts. Raises: OutputError if the file cannot be written."""
        self._write(running=0)

    def _write(self, *, running: int) -> None:
        progress = self._last
        left_s = progress.left_s
        values: dict[str, float] = {
            "frames": progress.frames,
            "video_seconds": round(progress.video_s, 3),
            "images": progress.images,
            "failures": len(progress.failures),
            "share": round(progress.share, 4),
            "left_seconds": float("nan") if left_s is None else round(left_s, 1),
            "running": running,
        }
        lines = []
        for name, meaning in NAMES.items():
            lines += [f"# HELP mmpnet_archive_{name} {meaning}", f"# TYPE mmpnet_archive_{name} gauge"]
            lines.append(f"mmpnet_archive_{name} {str(values[name]).replace('nan', 'NaN')}")
        with atomic_write(self._path) as partial:
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
            partial.chmod(0o644)  # the exporter is another user
