"""A progress bar on the console."""

import time
from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.progress import Progress

from mmpnet.console.command import console
from mmpnet.system.progress import Step

REFRESH_S = 0.2


def progress_bar(steps: Sequence[Step], description: str) -> Iterable[Step]:
    """Yield the steps and draw a bar on stderr, which disappears at the end.

    The bar is drawn between steps, as a thread that draws during a step would disturb timed steps. Nothing is drawn if
    the console is not a terminal.
    """
    if not console().is_terminal:
        yield from steps
        return
    with Progress(console=console(), transient=True, auto_refresh=False) as bar:
        task = bar.add_task(escape(description), total=len(steps))
        bar.refresh()
        drawn_s = time.monotonic()
        for step in steps:
            yield step
            bar.advance(task)
            if time.monotonic() - drawn_s > REFRESH_S:
                bar.refresh()
                drawn_s = time.monotonic()
