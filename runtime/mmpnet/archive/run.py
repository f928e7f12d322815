"""Detect people in an archive of videos and images: find out what is to do, let workers do it, and keep account."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import msgspec

from mmpnet.archive.attempts import Attempts
from mmpnet.archive.places import (
    Place,
    PlaceClaim,
    claimed,
    discard_all,
    exists,
    prepare_place,
    reading,
    writing,
)
from mmpnet.archive.progress import Progress
from mmpnet.archive.recordings import Recording
from mmpnet.archive.results import Done, done_before, read_failed, write_failed
from mmpnet.archive.schema import write_schema_document
from mmpnet.archive.settings import (
    MANIFEST,
    MODEL_FILE,
    Manifest,
    Settings,
    read_manifest,
    require_equal,
    write_manifest,
)
from mmpnet.archive.splitting import stated_length_s
from mmpnet.archive.tasks import Failure, ImageGroup, JoinVideo, Outcome, SplitVideo, Task, VideoPart, WholeVideo
from mmpnet.archive.worker import WORK, Execute
from mmpnet.archive.writing import result_path
from mmpnet.contract.errors import OutputError
from mmpnet.system.files import file_sha256
from mmpnet.system.progress import Notice, no_notice

PART_S = 600.0
"""Length of the parts of a long video: what a killed worker costs, at most."""
IMAGES_PER_FILE = 256
_READERS = 8


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who hears of a run: `notice` gets lines for people, `progress` the counts after every task."""

    notice: Notice = no_notice
    progress: Callable[[Progress], None] = lambda _: None


def run_archive(
    recordings: Sequence[Recording],
    folder: Place,
    execute: Execute,
    *,
    part_s: float = PART_S,
    watcher: Watcher | None = None,
    claim: PlaceClaim | None = None,
) -> Manifest:
    """Detect in all recordings that are not done yet, and write the results; `prepare_folder` must have been called.

    claim: what it returned; the run ends when another one has taken over.
    Whatever happens, finished results stay, and failed.parquet and the manifest are written.

    Raises: OutputError if results cannot be written, or the claim is lost, so that the run cannot go on.
    """
    watcher = watcher or Watcher()
    began_s = time.monotonic()
    done = done_before(folder, recordings)
    todo = [one for one in recordings if one.source not in done.sources]
    lengths_s = _lengths(todo)
    progress = Progress(
        total_s=sum(length_s or 0.0 for length_s in lengths_s.values()),
        total_images=sum(one.is_image for one in todo),
        done_before=len(recordings) - len(todo),
    )
    run = _Run(execute, watcher, progress, began_s, claim)
    is_complete = False
    try:
        run.all(todo, lengths_s, part_s)
        is_complete = True
    finally:
        if claim is not None:
            claim.require_held()
        attempted = {one.source for one in todo} if is_complete else {one.source for one in progress.failures}
        kept = [one for one in read_failed(folder) if one.source not in attempted]
        write_failed(folder, [*kept, *progress.failures])
        manifest = _finished(folder, done, run, len(kept) + len(progress.failures), is_complete=is_complete)
        write_manifest(folder, manifest)
    discard_all(folder / WORK)
    return manifest


class _Run:
    """Gives tasks to the workers and counts their outcomes."""

    def __init__(
        self, execute: Execute, watcher: Watcher, progress: Progress, began_s: float, claim: PlaceClaim | None
    ) -> None:
        self._execute = execute
        self._watcher = watcher
        self._progress = progress
        self._began_s = began_s
        self._claim = claim
        self.frames = self.detections = self.videos = self.images = 0
        self.video_s = 0.0
        self.providers: Counter[str] = Counter()

    @property
    def failures(self) -> list[Failure]:
        """All failures so far."""
        return self._progress.failures

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began_s

    def all(self, todo: Sequence[Recording], lengths_s: dict[str, float | None], part_s: float) -> None:
        """Split long videos, detect, join the parts. Raises: OutputError of a worker that cannot write."""
        long = [one for one in todo if (lengths_s.get(one.path) or 0.0) >= 2 * part_s]
        parts: dict[str, tuple[VideoPart, ...]] = {}
        self._progress.stage = "splitting"
        for outcome in self._outcomes([SplitVideo(video, part_s) for video in long]):
            parts[_video(outcome).path] = outcome.parts
        tasks: list[Task] = []
        for one in (one for one in todo if not one.is_image):
            tasks += parts.get(one.path) or [WholeVideo(one)]
        tasks += _image_groups([one for one in todo if one.is_image])
        self._progress.stage = "detecting"
        for outcome in self._outcomes(tasks):
            self._count(outcome)
        self._progress.stage = "joining"
        for outcome in self._outcomes([JoinVideo(video, parts[video.path]) for video in long if parts[video.path]]):
            self._count(outcome)

    def _outcomes(self, tasks: list[Task]) -> Iterator[Outcome]:
        for outcome in self._execute(tasks) if tasks else ():
            if self._claim is not None:
                self._claim.require_held()
            if outcome.fatal is not None:
                raise OutputError(outcome.fatal)
            # A video that cannot be split is read as a whole, which finds out why.
            told = outcome if not isinstance(outcome.task, SplitVideo) else Outcome(outcome.task)
            for line in told.notices:
                self._watcher.notice(line)
            self._progress.add(told, self.elapsed_s)
            self._watcher.progress(self._progress)
            yield outcome

    def _count(self, outcome: Outcome) -> None:
        if isinstance(outcome.task, VideoPart):
            return  # its video is counted when it is joined
        self.providers.update(outcome.providers)
        self.frames += outcome.frames
        self.video_s += outcome.video_s
        self.detections += outcome.detections
        if isinstance(outcome.task, ImageGroup):
            self.images += outcome.frames
        else:
            self.videos += outcome.frames > 0


def prepare_folder(
    folder: Place,
    model: Path,
    settings: Settings,
    *,
    resume: bool,
    patterns: Sequence[str] = (),
    provider: str = "auto",
    notify: Notice = no_notice,
) -> PlaceClaim:
    """Make the output folder with its manifest, model and schema document, and claim it for this run.

    notify: hears what differs from the earlier runs of the folder, if the results may be mixed all the same.

    Raises: OutputError if it has other results, another run writes to it, or it cannot be written.
    """
    prepare_place(folder, option=f"-o {folder}")
    _checked(folder, settings, resume=resume)
    claim = claimed(folder / MANIFEST, notify)
    try:
        before = _checked(folder, settings, resume=resume)  # another run may have ended while this one waited
        if before is not None:
            _tell_differences(folder, before, patterns, provider, notify)
            patterns = tuple(dict.fromkeys((*before.patterns, *patterns)))
        elif resume:
            notify(f"note: {folder} has no results yet, so --resume starts with the first recording")
        Attempts(folder / WORK).forget()  # a file that killed its readers in an earlier run gets new attempts
        _place_model(folder, model, settings)
        write_schema_document(folder)
        now = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        write_manifest(folder, Manifest(settings, version("mmpnet"), tuple(patterns), provider, now))
    except BaseException:
        claim.close()
        raise
    return claim


def _checked(folder: Place, settings: Settings, *, resume: bool) -> Manifest | None:
    """The manifest of an earlier run, if there is one. Raises: OutputError if this run may not go on with it."""
    before = read_manifest(folder)
    if before is not None and not resume:
        raise OutputError(f"{folder}: has results already; go on with them by --resume, or choose another place")
    if before is not None:
        require_equal(folder, before.settings, settings)
    return before


def _place_model(folder: Place, model: Path, settings: Settings) -> None:
    if exists(folder / MODEL_FILE):
        with reading(folder / MODEL_FILE) as found:
            if file_sha256(found) == settings.model_sha256:
                return
    with writing(folder / MODEL_FILE) as partial:
        shutil.copyfile(model, partial)


def _tell_differences(folder: Place, before: Manifest, patterns: Sequence[str], provider: str, notify: Notice) -> None:
    if before.mmpnet_version != version("mmpnet"):
        notify(f"note: the results in {folder} are of mmpnet {before.mmpnet_version}, this is {version('mmpnet')}")
    if before.provider != provider:
        notify(
            f"note: the results in {folder} were computed by {before.provider}, this run uses {provider}: scores may "
            "differ in their last digits"
        )
    others = [pattern for pattern in before.patterns if pattern not in patterns]
    if others:
        notify(f"note: {folder} also keeps the results of {', '.join(others)}, which this run does not name")


def _lengths(recordings: Sequence[Recording]) -> dict[str, float | None]:
    """Stated length in seconds of each video that is a file."""
    paths = [one.path for one in recordings if not one.is_image and not one.is_address]
    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(paths, pool.map(lambda path: stated_length_s(Path(path)), paths), strict=True))


def _image_groups(images: Iterable[Recording]) -> Iterator[ImageGroup]:
    """Images whose rows go to one file: of one camera and day."""

    def place(image: Recording) -> str:
        return str(result_path(Path(), image, ""))

    for _, group in groupby(sorted(images, key=lambda one: (place(one), one.path)), key=place):
        of_one = tuple(group)
        for first in range(0, len(of_one), IMAGES_PER_FILE):
            yield ImageGroup(of_one[first : first + IMAGES_PER_FILE])


def _video(outcome: Outcome) -> Recording:
    assert isinstance(outcome.task, SplitVideo)
    return outcome.task.video


def _finished(folder: Place, done: Done, run: _Run, failed: int, *, is_complete: bool) -> Manifest:
    manifest = read_manifest(folder)
    assert manifest is not None
    return msgspec.structs.replace(
        manifest,
        finished_at=f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}" if is_complete else None,
        elapsed_s=round(run.elapsed_s, 1),
        videos=done.videos + run.videos,
        images=done.images + run.images,
        frames=done.frames + run.frames,
        video_s=done.video_s + run.video_s,
        detections=done.detections + run.detections,
        failed=failed,
        providers=dict(run.providers + Counter(done.providers)),
    )
