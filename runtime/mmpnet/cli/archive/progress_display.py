"""Progress of an archive run: a line that changes on a terminal, a line per half minute in a log."""

import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mmpnet.archive.progress import Progress
from mmpnet.contract.text import counted

LOG_EVERY_S = 30.0
_HOUR_S = 3600


class ProgressDisplay:
    """Shows the counts of a run; `close` ends it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._logged_s = 0.0
        self._stage = ""

    def show(self, progress: Progress) -> None:
        """Show the counts of now."""
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


def progress_line(progress: Progress) -> str:
    """The counts as one line."""
    parts = [f"{progress.stage}: {progress.share:.0%}"]
    if progress.total_s:
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
