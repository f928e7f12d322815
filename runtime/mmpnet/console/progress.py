"""A progress bar on the console."""

from collections.abc import Iterable, Sequence

from rich.progress import track

from mmpnet.console.command import console
from mmpnet.system.progress import Step


def progress_bar(steps: Sequence[Step], description: str) -> Iterable[Step]:
    """Yield the steps and draw a bar on stderr meanwhile, which goes away at the end."""
    return track(steps, description=description, console=console(), transient=True)
