"""Progress of an archive run: a line that changes on a terminal, a line per half minute in a log."""

import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mmpnet.archive.metrics_file import MetricsFile
from mmpnet.archive.progress import Progress
from mmpnet.contract.text import counted

LOG_EVERY_S = 30.0
_HOUR_S = 3600
_SHORT_S = 0.1 * _HOUR_S
"""Hours with two decimals would tell little of less video than this."""


class ProgressDisplay:
    """Shows the counts of a run, also in a file for Prometheus if one is given; `close` ends it.

    Raises: OutputError if that file cannot be written.
    """

    def __init__(self, console: Console, metrics: Path | None = None) -> None:
        self._console = console
        self._metrics = None if metrics is None else MetricsFile(metrics)
        self._live: Live | None = None
        self._logged_s = 0.0
        self._stage = ""

    def show(self, progress: Progress) -> None:
        """Show the counts of now."""
        if self._metrics is not None:
            self._metrics.show(progress)
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(Text(progress_line(progress)), refresh=True)
            return
        now_s = time.monotonic()
        if progress.stage != self._stage or now_s - self._logged_s >= LOG_EVERY_S:
            self._stage, self._logged_s = progress.stage, now_s
            self._console.print(progress_line(progress))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._metrics is not None:
            self._metrics.close()


def progress_line(progress: Progress) -> str:
    """The counts as one line."""
    parts = [f"{progress.stage}: {progress.share:.0%}"]
    if 0 < progress.total_s < _SHORT_S:
        parts.append(f"{duration(progress.video_s)} of {duration(progress.total_s)} of video")
    elif progress.total_s:
        parts.append(f"{progress.video_s / _HOUR_S:.2f} of {progress.total_s / _HOUR_S:.2f} h of video")
    if progress.total_images:
        parts.append(f"{progress.images} of {counted(progress.total_images, 'image')}")
    parts.append(f"{progress.fps:.1f} frames/s")
    if progress.left_s is not None:
        parts.append(f"{duration(progress.left_s)} left")
    if progress.failures:
        parts.append(counted(len(progress.failures), "failed file"))
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as a short text, such as 40 s, 12 min or 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / _HOUR_S:.1f} h"
