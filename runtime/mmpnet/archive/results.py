"""The output folder: what is done already, and the list of failed files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmpnet.archive.recordings import Recording
from mmpnet.archive.schema import FAILED, FAILED_SCHEMA, FRAMES
from mmpnet.archive.tasks import Failure
from mmpnet.archive.writing import read_record
from mmpnet.contract.errors import OutputError
from mmpnet.system.files import atomic_write, is_file, remove


@dataclass(frozen=True, slots=True)
class Done:
    """What is in an output folder. sources: those that are complete. Totals: over all of its files."""

    sources: frozenset[str]
    frames: int
    video_s: float
    detections: int
    videos: int
    images: int


def result_files(folder: Path) -> list[Path]:
    """The Parquet files of results in an output folder, in order of name."""
    return sorted((folder / FRAMES).glob("camera=*/date=*/*.parquet"))


def done_before(folder: Path, recordings: Sequence[Recording]) -> Done:
    """What is in the folder that need not be done again.

    Results of a video or image that has changed since, and damaged files, are removed: they are made again.
    """
    now = {one.source: (one.source, one.size, one.changed_ns) for one in recordings}
    sources: set[str] = set()
    totals = [0, 0.0, 0, 0, 0]
    for path in result_files(folder):
        record = read_record(path)
        if record is None or any(one != now.get(one[0], one) for one in record.sources):
            remove(path)
            continue
        failed = {one.source for one in record.failures}
        is_video = len(record.sources) == 1 and record.video_s > 0
        if is_video and failed:
            continue  # it is read again, and its file is replaced
        sources |= {source for source, *_ in record.sources} - failed
        totals[0] += record.frames
        totals[1] += record.video_s
        totals[2] += record.detections
        totals[3 if is_video else 4] += 1 if is_video else record.frames
    frames, video_s, detections, videos, images = totals
    return Done(frozenset(sources), int(frames), video_s, int(detections), int(videos), int(images))


def write_failed(folder: Path, failures: Iterable[Failure]) -> None:
    """Write failed.parquet, also if there is no failure. Raises: OutputError if it cannot be written."""
    rows = [
        {"source": one.source, "camera": one.camera, "reason": one.reason, "frames": one.frames}
        for one in sorted(failures, key=lambda one: one.source)
    ]
    with atomic_write(folder / FAILED) as partial:
        pq.write_table(pa.Table.from_pylist(rows, FAILED_SCHEMA), partial)


def read_failed(folder: Path) -> list[Failure]:
    """The failures that an earlier run listed. Raises: OutputError if the list is damaged."""
    path = folder / FAILED
    if not is_file(path):
        return []
    try:
        return [Failure(**row) for row in pq.read_table(path).to_pylist()]
    except (OSError, TypeError, pa.ArrowException) as error:
        raise OutputError(f"{path}: cannot be read ({error}); remove it") from error
