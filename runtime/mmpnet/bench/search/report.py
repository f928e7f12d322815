"""What a search reports: settings, files, what was left out, and what it was measured on."""

from typing import Literal, TypeAlias

import msgspec

from mmpnet.bench.environment import Conditions, Machine, Versions
from mmpnet.bench.statistics import StageReport
from mmpnet.contract.metadata import Precision

Rank: TypeAlias = Literal["p50", "p90", "p95", "p99"]


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """One model file: what it is, and its accuracy, None where a size range has no boxes."""

    file: str
    sha256: str
    size_bytes: int
    precision: Precision
    input_hw: tuple[int, int]
    accuracy: dict[str, float | None]


class SettingReport(msgspec.Struct, frozen=True, kw_only=True):
    """One file with one number of threads; time_ms: what is held against the target. front: no other setting is as fast
    and as accurate, and better in one of the two."""

    file: str
    threads: int
    end_to_end: StageReport
    infer_ms: float
    time_ms: float
    AP: float
    within: bool
    front: bool
    noisy: bool | None


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was asked for and is not there."""

    what: str
    why: str


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures that accuracy was measured on."""

    name: str
    sha256: str
    n_images: int
    n_boxes: int
    protocol: str


class SearchReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="mmp-bench search"):
    """All of it, fastest setting first; chosen: its index, None where nothing keeps to the target."""

    schema: int = 1
    target_ms: float
    rank: Rank
    chosen: int | None
    settings: tuple[SettingReport, ...]
    files: tuple[FileReport, ...]
    left_out: tuple[LeftOut, ...]
    judge: Judge
    frame_hw: tuple[int, int]
    provider: str
    repeats: int
    frames: int
    machine: Machine
    versions: Versions
    before: Conditions
    after: Conditions

    def file(self, setting: SettingReport) -> FileReport:
        """The file of a setting."""
        return next(file for file in self.files if file.file == setting.file)
