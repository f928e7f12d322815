"""How far a run over an archive is."""

from dataclasses import dataclass, field

from mmpnet.archive.tasks import Failure, ImageGroup, JoinVideo, Outcome, VideoPart, WholeVideo


@dataclass(slots=True)
class Progress:
    """Counts of a run so far; total_s: length of all videos that are still to do, as their headers state it."""

    total_s: float
    total_images: int
    done_before: int = 0
    """Videos and images that an earlier run has done."""
    video_s: float = 0.0
    frames: int = 0
    images: int = 0
    elapsed_s: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    stage: str = "reading"

    def add(self, outcome: Outcome, elapsed_s: float) -> None:
        """Count what a worker reports."""
        self.elapsed_s = elapsed_s
        self.failures += outcome.failures
        if isinstance(outcome.task, ImageGroup):
            self.images += outcome.frames
        if isinstance(outcome.task, VideoPart):
            part = outcome.task
            self.video_s += 0.0 if part.end_ms is None else (part.end_ms - part.start_ms) / 1e3
        if not isinstance(outcome.task, JoinVideo):
            self.frames += outcome.frames
        if isinstance(outcome.task, WholeVideo):
            self.video_s += outcome.video_s

    @property
    def fps(self) -> float:
        """Frames per second of all workers together."""
        return self.frames / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def left_s(self) -> float | None:
        """Estimated time until the end, in seconds; None if nothing is done yet."""
        share = self.share
        return self.elapsed_s * (1 - share) / share if share else None

    @property
    def share(self) -> float:
        """The part of the work that is done, 0 to 1; an image counts as 0.04 s of video."""
        total = self.total_s + 0.04 * self.total_images
        return min((self.video_s + 0.04 * self.images) / total, 1.0) if total else 0.0
