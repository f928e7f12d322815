"""The interface of a sink."""

from typing import TYPE_CHECKING

from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.sources.frame import Event

if TYPE_CHECKING:
    from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.pipeline.results import Result


class Sink:
    """Takes results one by one; close makes them final. All of it happens in the thread that runs the run."""

    wants_annotated = False
    """Whether `write` needs the annotated frame now."""
    holding = False
    """Whether the run waits before its next frame, as a window with an image does."""

    def started(self, summary: "Summary") -> None:
        """The run begins; its numbers change from now on, by other threads too."""

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        """Take one result; False asks the run to end. The annotated frame is painted over after the call."""
        raise NotImplementedError

    def event(self, event: Event) -> None:
        """Something happened to a live source."""

    def idle(self) -> bool:
        """Called where there is no result for a while, and while a sink is holding; False asks the run to end."""
        return True

    def finished(self, summary: "Summary") -> None:
        """The run has ended, well or not; nothing changes its numbers any more."""

    def close(self) -> None:
        """Finish what was written. Raises: OutputError if it cannot be read back."""
