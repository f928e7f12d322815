"""The pieces of work that workers get, and what they report."""

from dataclasses import dataclass, field
from typing import TypeAlias

from mmpnet.archive.recordings import Recording


@dataclass(frozen=True, slots=True)
class ImageGroup:
    """Images of one camera and day, whose rows go to one file."""

    images: tuple[Recording, ...]

    @property
    def name(self) -> str:
        """A name that no other task has."""
        return f"images-{self.images[0].key}-{len(self.images)}"


@dataclass(frozen=True, slots=True)
class WholeVideo:
    """A video that one worker reads from its start to its end."""

    video: Recording

    @property
    def name(self) -> str:
        """A name that no other task has."""
        return self.video.key


@dataclass(frozen=True, slots=True)
class VideoPart:
    """The frames of a video from one key frame up to another.

    first_frame, frames: number of the first one in the video, and how many there are, without those that are skipped.
    start_ms: position of the first one, end_ms: position of the first one of the next part; None for the last part.
    """

    video: Recording
    number: int
    first_frame: int
    frames: int
    start_ms: float
    end_ms: float | None

    @property
    def name(self) -> str:
        """A name that no other task has."""
        return f"{self.video.key}.part-{self.number:05d}"


@dataclass(frozen=True, slots=True)
class SplitVideo:
    """Find the key frames at which a long video can be split."""

    video: Recording
    part_s: float

    @property
    def name(self) -> str:
        """A name that no other task has."""
        return f"{self.video.key}.split"


@dataclass(frozen=True, slots=True)
class JoinVideo:
    """Number and track what the workers found in the parts of a video, and write its file."""

    video: Recording
    parts: tuple[VideoPart, ...]

    @property
    def name(self) -> str:
        """A name that no other task has."""
        return f"{self.video.key}.join"


Task: TypeAlias = ImageGroup | WholeVideo | VideoPart | SplitVideo | JoinVideo


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be read, or not completely; frames: how many of its frames are in the results."""

    source: str
    camera: str
    reason: str
    frames: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker reports about a task.

    frames, video_s, detections: what was read and found. parts: those of a video that was split. notices: lines for
    people. fatal: why the run cannot go on, such as a full disk; None if it can. worker: name of its machine and number
    of its process. providers: number of frames of a finished file by the execution provider that detected in them.
    """

    task: Task
    frames: int = 0
    video_s: float = 0.0
    detections: int = 0
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()
    parts: tuple[VideoPart, ...] = ()
    fatal: str | None = None
    worker: str = field(default="", compare=False)
    providers: dict[str, int] = field(default_factory=dict)
