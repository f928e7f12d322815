"""The interface of a sink."""

from typing import TYPE_CHECKING

from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.sources.frame import Event

if TYPE_CHECKING:
    from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.pipeline.results import Result


class Sink:
    """Receives results one by one; close finishes them. All calls are made in the thread that runs the run."""

    wants_annotated = False
    """Whether `write` needs an annotated frame now."""
    holding = False
    """Whether the run waits before its next frame, as for a window that shows an image."""

    def started(self, summary: "Summary") -> None:
        """The run starts. Its summary changes from now on, also from other threads."""

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        """Take one result; returning False requests the end. The annotated frame is overwritten after the call."""
        raise NotImplementedError

    def event(self, event: Event) -> None:
        """Take an event of a live source."""

    def idle(self) -> bool:
        """Called when there is no result for a while, and while a sink holds the run; False requests the end."""
        return True

    def finished(self, summary: "Summary") -> None:
        """The run has ended, successfully or not; its summary does not change any more."""

    def close(self) -> None:
        """Finish what was written. Raises: OutputError if it cannot be read back."""
