"""The report of a search: settings, files, files that could not be made, and the machine."""

import msgspec

from mmpnet.bench.environment import LibraryVersions, MachineConditions, MachineFacts
from mmpnet.bench.search.choices import Rank
from mmpnet.bench.statistics import StageReport
from mmpnet.contract.metadata import Precision


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """One model file and its accuracy; an accuracy is None if its size range has no boxes."""

    file: str
    sha256: str
    size_bytes: int
    precision: Precision
    input_hw: tuple[int, int]
    accuracy: dict[str, float | None]


class SettingReport(msgspec.Struct, frozen=True, kw_only=True):
    """One file with one number of threads. time_ms is compared with the target. front: on the Pareto front, that is, no
    other setting is at least as fast and as accurate, and better in one of the two."""

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
    """A requested file that could not be made."""

    what: str
    why: str


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """The images on which accuracy was measured."""

    name: str
    sha256: str
    n_images: int
    n_boxes: int
    protocol: str


class SearchReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="mmp-bench search"):
    """The whole report, fastest setting first; chosen: its index, None if no setting meets the target."""

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
    machine: MachineFacts
    versions: LibraryVersions
    before: MachineConditions
    after: MachineConditions

    def file(self, setting: SettingReport) -> FileReport:
        """The file of a setting."""
        return next(file for file in self.files if file.file == setting.file)
