"""The output folder: what is done already, and the list of failed files."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from mmpnet.archive.places import Place, discard, files_in, read_bytes, writing
from mmpnet.archive.recordings import Recording
from mmpnet.archive.schema import FAILED, FAILED_SCHEMA, FRAMES
from mmpnet.archive.tasks import Failure
from mmpnet.archive.writing import read_record
from mmpnet.contract.errors import OutputError

_P = TypeVar("_P", bound=Place)
_READERS = 16
"""Results in a bucket take a request each."""
_RESULT = re.compile(r"[/\\]camera=[^/\\]*[/\\]date=[^/\\]*[/\\][^/\\]*\.parquet$")


@dataclass(frozen=True, slots=True)
class Done:
    """What is in an output folder. sources: those that are complete. Totals: over all of its files."""

    sources: frozenset[str]
    frames: int
    video_s: float
    detections: int
    videos: int
    images: int
    providers: dict[str, int]


def result_files(folder: _P) -> list[_P]:
    """The Parquet files of results in an output folder, in order of name. Raises: OutputError."""
    frames: Any = folder / FRAMES
    return [path for path in files_in(frames, "camera=") if _RESULT.search(str(path))]


def done_before(folder: Place, recordings: Sequence[Recording]) -> Done:
    """What is in the folder that need not be done again.

    Results of a video or image that has changed since, and damaged files, are removed: they are made again.
    """
    now = {one.source: (one.source, one.size, one.changed_ns) for one in recordings}
    sources: set[str] = set()
    totals = [0, 0.0, 0, 0, 0]
    providers: Counter[str] = Counter()
    files = result_files(folder)
    with ThreadPoolExecutor(_READERS) as pool:
        records = list(pool.map(read_record, files))
    for path, record in zip(files, records, strict=True):
        if record is None or any(one != now.get(one[0], one) for one in record.sources):
            discard(path)
            continue
        failed = {one.source for one in record.failures}
        is_video = len(record.sources) == 1 and record.video_s > 0
        if is_video and failed:
            continue  # it is read again, and its file is replaced
        sources |= {source for source, *_ in record.sources} - failed
        providers.update(record.providers)
        totals[0] += record.frames
        totals[1] += record.video_s
        totals[2] += record.detections
        totals[3 if is_video else 4] += 1 if is_video else record.frames
    frames, video_s, detections, videos, images = totals
    return Done(frozenset(sources), int(frames), video_s, int(detections), int(videos), int(images), dict(providers))


def write_failed(folder: Place, failures: Iterable[Failure]) -> None:
    """Write failed.parquet, also if there is no failure. Raises: OutputError if it cannot be written."""
    rows = [
        {"source": one.source, "camera": one.camera, "reason": one.reason, "frames": one.frames}
        for one in sorted(failures, key=lambda one: one.source)
    ]
    with writing(folder / FAILED) as partial:
        pq.write_table(pa.Table.from_pylist(rows, FAILED_SCHEMA), partial)


def read_failed(folder: Place) -> list[Failure]:
    """The failures that an earlier run listed. Raises: OutputError if the list is damaged."""
    path = folder / FAILED
    try:
        content = read_bytes(path)
        return (
            [] if content is None else [Failure(**row) for row in pq.read_table(pa.BufferReader(content)).to_pylist()]
        )
    except (OSError, TypeError, pa.ArrowException) as error:
        raise OutputError(f"{path}: cannot be read ({error}); remove it") from error
