"""mmp-bench search: its choice equals a slow reference's; also the files that it exports, and its command line."""

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mmpnet.bench.search import candidates as search_files
from mmpnet.bench.search import search as search_module
from mmpnet.bench.search.candidates import ExportPlan, collect, derived_sizes, file_name
from mmpnet.bench.search.page import write_search_page
from mmpnet.bench.search.report import LeftOut, SearchReport, SettingReport
from mmpnet.bench.search.search import SearchPlan, choose, on_front, require_samples, search
from mmpnet.bench.search.wording import command_of, verdict
from mmpnet.bench.statistics import summarize
from mmpnet.cli.bench.command import app
from mmpnet.contract.errors import ContractError, ExportError, MissingExtraError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.types import Dataset
from mmpnet.runtime.inference.detector import Detector, StageTimes
from mmpnet.system.claims import Claim
from support.browser import headless_browser

POINTS = st.lists(st.tuples(st.integers(1, 5).map(float), st.integers(0, 5).map(float)), min_size=1, max_size=12)
QUICK = ("--repeats", "2", "--frames", "3", "--frame-size", "96x64", "--threads", "1")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["search", *(str(a) for a in arguments)], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def setting(time_ms: float, ap: float, *, threads: int = 1, target_ms: float = 10.0) -> SettingReport:
    return SettingReport(
        file=f"{ap}.onnx",
        threads=threads,
        end_to_end=summarize([np.full(3, time_ms)]),
        infer_ms=time_ms,
        time_ms=time_ms,
        AP=ap,
        within=time_ms <= target_ms,
        front=False,
        noisy=None,
    )


@given(points=POINTS)
@settings(deadline=None)
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    front = on_front(points)
    best: list[tuple[float, float]] = []
    for point in sorted(set(points), key=lambda one: (one[0], -one[1])):  # from the fastest on
        if not best or point[1] > best[-1][1]:
            best.append(point)
    assert {point for point, there in zip(points, front, strict=True) if there} == set(best)
    assert all(front[index] == (point in best) for index, point in enumerate(points))


def test_the_most_accurate_within_the_target_is_chosen() -> None:
    assert choose([setting(4, 0.2), setting(9, 0.3), setting(11, 0.4)]) == 1
    assert choose([setting(10.0, 0.3)]) == 0  # a time equal to the target meets it


def test_of_equals_the_one_with_fewer_threads_is_chosen_and_then_the_faster() -> None:
    assert choose([setting(5, 0.3, threads=2), setting(9, 0.3, threads=1)]) == 1
    assert choose([setting(5, 0.3, threads=0), setting(9, 0.3, threads=4)]) == 1  # 0 may be all of them
    assert choose([setting(9, 0.3), setting(8, 0.3)]) == 1


def test_nothing_within_the_target_is_no_choice() -> None:
    assert choose([setting(11, 0.3), setting(12, 0.4)]) is None


@pytest.mark.parametrize(("rank", "frames", "enough"), [("p50", 1, True), ("p90", 63, False), ("p90", 64, True)])
def test_a_percentile_needs_its_samples(rank: Any, frames: int, enough: bool) -> None:
    plan = SearchPlan(target_ms=1.0, rank=rank, repeats=1, frames=frames)
    if enough:
        require_samples(plan)
    else:
        with pytest.raises(ContractError, match="p90 of 63 frames is unreliable, expected at least 64"):
            require_samples(plan)


@pytest.mark.parametrize(
    ("trained_hw", "sizes_hw"),
    [
        ((320, 320), [(320, 320), (288, 288), (256, 256), (224, 224), (192, 192)]),
        ((192, 320), [(192, 320), (160, 288), (160, 256), (128, 224), (128, 192)]),
        ((32, 32), [(32, 32)]),
    ],
)
def test_sizes_are_derived_from_that_of_training(trained_hw: tuple[int, int], sizes_hw: list[tuple[int, int]]) -> None:
    assert derived_sizes(trained_hw) == sizes_hw


def test_a_file_is_named_by_size_and_precision() -> None:
    assert file_name("best", (320, 320), "fp32") == "best-320.onnx"
    assert file_name("best", (192, 320), "int8") == "best-192x320-int8.onnx"


class FakeDetector(Detector):
    """The real detector's results in a known time, by file and threads; `opened` records the order of opening."""

    seconds: dict[tuple[str, int], float] = {}  # noqa: RUF012
    opened: list[tuple[str, int]] = []  # noqa: RUF012

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self._key = (path.name, options.get("threads", 0))
        if "thresholds" not in options:  # opened for timing, not for evaluation
            self.opened.append(self._key)

    def timed(self, frame_bgr: Any) -> tuple[Any, StageTimes]:
        found, _ = super().timed(frame_bgr)
        return found, StageTimes(preprocess_ms=0.1, infer_ms=0.5, postprocess_ms=0.1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


@pytest.fixture
def fake_times(monkeypatch: pytest.MonkeyPatch) -> type[FakeDetector]:
    """Files take FakeDetector.seconds from pixels to boxes."""
    monkeypatch.setattr(search_module, "Detector", FakeDetector)
    monkeypatch.setattr(FakeDetector, "seconds", {})
    monkeypatch.setattr(FakeDetector, "opened", [])

    def times_ms(detector: FakeDetector, _: Any) -> tuple[float, float, float, float]:
        ms = detector.seconds[detector._key] * 1e3
        return 0.1, ms - 0.2, 0.1, ms

    monkeypatch.setattr(search_module, "stage_times_ms", times_ms)
    return FakeDetector


@pytest.fixture(scope="module")
def dataset(dataset_folder: Path) -> Dataset:
    return read_coco(dataset_folder / "val.json")


@pytest.fixture(scope="module")
def two_files(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path) -> list[Path]:
    """The tiny model under two names."""
    folder = tmp_path_factory.mktemp("two")
    return [Path(shutil.copy(tiny_onnx, folder / name)) for name in ("a.onnx", "b.onnx")]


def frame() -> Any:
    return np.zeros((64, 96, 3), np.uint8)


def test_times_and_threads_stay_with_their_file(
    fake_times: type[FakeDetector], two_files: list[Path], dataset: Dataset
) -> None:
    fake_times.seconds.update({("a.onnx", 1): 0.009, ("a.onnx", 2): 0.006, ("b.onnx", 1): 0.004, ("b.onnx", 2): 0.003})
    plan = SearchPlan(target_ms=5.0, threads=(1, 2), repeats=3, frames=2)
    report = search(two_files, plan, dataset, frame())
    rows = [(one.file, one.threads, one.time_ms, one.within) for one in report.settings]
    assert rows == [
        ("b.onnx", 2, 3.0, True),
        ("b.onnx", 1, 4.0, True),
        ("a.onnx", 2, 6.0, False),
        ("a.onnx", 1, 9.0, False),
    ]
    assert report.chosen == 1  # as accurate with one thread
    assert [one.front for one in report.settings] == [True, False, False, False]
    assert [one.end_to_end.samples for one in report.settings] == [6] * 4
    assert report.judge.n_images == len(dataset.images)
    assert {file.file: file.input_hw for file in report.files} == {"a.onnx": (64, 64), "b.onnx": (64, 64)}


def test_every_round_goes_through_all_settings(
    fake_times: type[FakeDetector], two_files: list[Path], dataset: Dataset
) -> None:
    fake_times.seconds.update({("a.onnx", 1): 0.009, ("b.onnx", 1): 0.004})
    search(two_files, SearchPlan(target_ms=5.0, repeats=8, frames=1), dataset, frame())
    rounds = [tuple(fake_times.opened[start : start + 2]) for start in range(0, 16, 2)]
    assert len(fake_times.opened) == 16
    assert all(sorted(one) == [("a.onnx", 1), ("b.onnx", 1)] for one in rounds)
    assert len(set(rounds)) == 2, "the order never changes"


def test_two_files_of_one_name_are_refused(two_files: list[Path], dataset: Dataset) -> None:
    with pytest.raises(ContractError, match=r"different names, got a\.onnx, a\.onnx"):
        search([two_files[0], two_files[0]], SearchPlan(target_ms=5.0), dataset, frame())


@dataclass
class FakeExporter:
    """Replaces the mmp-export process: records its arguments, and writes the tiny file."""

    made_of: Callable[[Path, Path, Sequence[str]], None]
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def __call__(self, checkpoint: Path, out: Path, *flags: str) -> None:
        self.calls.append((out.name, flags))
        self.made_of(checkpoint, out, flags)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch, tiny_onnx: Path) -> FakeExporter:
    def made(_: Path, out: Path, flags: Sequence[str]) -> None:
        if "--imgsz=96x96" in flags:
            raise ExportError("96 does not fit")
        shutil.copy(tiny_onnx, out)

    fake = FakeExporter(made)
    monkeypatch.setattr(search_files, "_export", fake)
    return fake


def wanted(folder: Path, **changes: Any) -> ExportPlan:
    asked: dict[str, Any] = {"sizes_hw": (), "precisions": ("fp32",), "calib": (Path("images"),), "folder": folder}
    return ExportPlan(**{**asked, **changes})


def test_a_checkpoint_is_exported_at_the_size_of_training_and_below(
    exporter: FakeExporter, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    paths, left_out = collect([str(tiny_checkpoint)], wanted(tmp_path), said.append)
    assert [path.name for path in paths] == ["tiny-64.onnx", "tiny-32.onnx"]
    assert not left_out
    assert exporter.calls == [
        ("tiny.onnx", ()),
        ("tiny-64.onnx", ("--imgsz=64x64",)),
        ("tiny-32.onnx", ("--imgsz=32x32",)),
    ]
    assert said == ["exporting tiny.onnx", "exporting tiny-64.onnx", "exporting tiny-32.onnx"]


def test_what_an_earlier_search_made_is_reused_but_not_of_another_checkpoint(
    exporter: FakeExporter, tiny_checkpoint: Path, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    sizes = wanted(tmp_path, sizes_hw=((64, 64),))
    collect([str(tiny_checkpoint)], sizes, lambda _: None)
    collect([str(tiny_checkpoint)], sizes, lambda _: None)
    assert len(exporter.calls) == 1
    (tmp_path / "other").mkdir()
    other = make_checkpoint(tmp_path / "other" / "tiny.pth", seed=5)
    _, left_out = collect([str(tiny_checkpoint), str(other)], sizes, lambda _: None)
    assert len(exporter.calls) == 2
    assert [one.why for one in left_out] == ["was not exported from tiny.pth; remove it, so that it is made again"]


def test_int8_that_was_not_worth_it_is_left_out_with_the_reason(
    exporter: FakeExporter, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    asked = wanted(tmp_path, sizes_hw=((64, 64),), precisions=("fp32", "int8"))
    paths, left_out = collect([str(tiny_checkpoint)], asked, lambda _: None)
    assert [path.name for path in paths] == ["tiny-64.onnx"]
    assert [(one.what, one.why) for one in left_out] == [("tiny-64-int8.onnx", "int8 has no advantage: ")]
    assert exporter.calls[1] == ("tiny-64-int8.onnx", ("--imgsz=64x64", "--int8", "--calib=images"))


def test_a_size_that_cannot_be_exported_is_left_out_with_the_exporters_words(
    exporter: FakeExporter, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    asked = wanted(tmp_path, sizes_hw=((96, 96), (64, 64)))
    paths, left_out = collect([str(tiny_checkpoint)], asked, lambda _: None)
    assert [path.name for path in paths] == ["tiny-64.onnx"]
    assert [(one.what, one.why) for one in left_out] == [("tiny-96.onnx", "96 does not fit")]
    with pytest.raises(ContractError, match=r"no file is left to compare: tiny-96\.onnx: 96 does not fit"):
        collect([str(tiny_checkpoint)], wanted(tmp_path, sizes_hw=((96, 96),)), lambda _: None)
    del exporter


def test_a_checkpoint_without_torch_says_so(
    monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    with pytest.raises(MissingExtraError, match=r"needs torch: pip install 'mmpnet\[train\]'; or export it elsewhere"):
        collect([str(tiny_checkpoint)], wanted(tmp_path), lambda _: None)


@pytest.mark.slow
def test_the_real_exporter_makes_the_files_and_one_is_chosen(
    tiny_checkpoint: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    flags = ("--imgsz", "64", "--precision", "fp32", "--target-ms", "1000", "--data", dataset_folder)
    code, out, err = run(tiny_checkpoint, *flags, *QUICK, "-o", tmp_path, "--json")
    assert code == 0, err
    report = json.loads(out)
    [made] = report["files"]
    assert made["file"] == "tiny-64.onnx"
    assert made["sha256"] == hashlib.sha256((tmp_path / "tiny-64.onnx").read_bytes()).hexdigest()
    assert report["chosen"] == 0
    assert report["settings"][0]["infer_ms"] <= report["settings"][0]["end_to_end"]["median_ms"]
    page = (tmp_path / "report.html").read_text()
    assert "mmp-run" in page
    assert "tiny-64.onnx" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 1


@pytest.mark.slow
def test_an_exporter_that_fails_gives_its_own_line(tiny_checkpoint: Path, tmp_path: Path) -> None:
    asked = wanted(tmp_path, sizes_hw=((65, 64),))
    with pytest.raises(ContractError, match=r"65.*multiple"):
        collect([str(tiny_checkpoint)], asked, lambda _: None)


def test_too_slow_is_an_exit_code_and_the_report_is_still_written(
    tiny_onnx: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    code, out, err = run(tiny_onnx, "--target-ms", "0.001", "--data", dataset_folder, *QUICK, "-o", tmp_path)
    assert code == 3
    assert "no setting takes at most 0.001 ms: the fastest is tiny.onnx with 1 thread" in out
    assert all(word in out for word in ("model", "input px", "threads", "median ms", "p90", "AP50", "on the front"))
    assert max(len(line.rstrip()) for line in out.splitlines() if "on the front" in line) <= 80
    assert "report.html" in err
    assert "no setting takes at most" in (tmp_path / "report.html").read_text()


def test_the_images_are_drawn_from_all_over_the_data(tiny_onnx: Path, dataset_folder: Path, tmp_path: Path) -> None:
    flags = ("--target-ms", "1000", "--data", dataset_folder, *QUICK, "-o", tmp_path, "--json")
    code, out, _ = run(tiny_onnx, *flags, "--limit", "3")
    assert code == 0
    assert json.loads(out)["judge"]["n_images"] == 3
    assert "(3 of 6)" in json.loads(out)["judge"]["name"]


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (("nowhere.onnx",), 1, "nowhere.onnx: no such file; expected last.pth or best.pth from mmp-train, or an .onnx"),
        (("model.txt",), 1, "model.txt: expected a checkpoint .pth, an exported .onnx or an embedded model's name"),
        (("person-320", "--precision", "int4"), 2, "--precision 'int4': expected fp32 or int8"),
        (("person-320", "--imgsz", "big"), 2, "expected N or HEIGHTxWIDTH"),
        (
            ("person-320", "--rank", "p99"),
            1,
            "p99 of 6 frames is unreliable, expected at least 662; raise --repeats or --frames",
        ),
    ],
)
def test_bad_input_gets_one_line(
    flags: tuple[str, ...], code: int, line: str, dataset_folder: Path, tmp_path: Path
) -> None:
    got, out, err = run(*flags, "--target-ms", "10", "--data", dataset_folder, *QUICK, "-o", tmp_path)
    assert got == code
    assert out == ""
    assert line in " ".join(err.replace("│", " ").split())


def test_a_file_in_the_place_of_the_folder_is_one_line(tiny_onnx: Path, dataset_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    flags = ("--target-ms", "10", "--data", dataset_folder, *QUICK)
    code, _, err = run(tiny_onnx, *flags, "-o", tmp_path / "taken")
    assert code == 1
    assert "taken: cannot be made" in err


def test_two_searches_into_one_folder_do_not_mix(tiny_onnx: Path, dataset_folder: Path, tmp_path: Path) -> None:
    flags = ("--target-ms", "10", "--data", dataset_folder, *QUICK)
    with Claim(tmp_path / "report.html"):
        code, _, err = run(tiny_onnx, *flags, "-o", tmp_path)
    assert code == 1
    assert "report.html: another run writes to it; stop that one, or choose another name" in " ".join(err.split())
    assert list(tmp_path.iterdir()) == [], "the one that is refused writes nothing"


def test_the_page_is_whole_when_nothing_was_chosen_and_some_left_out(
    fake_times: type[FakeDetector], two_files: list[Path], dataset: Dataset, tmp_path: Path
) -> None:
    fake_times.seconds.update({("a.onnx", 0): 0.009, ("b.onnx", 0): 0.004})
    left = (LeftOut(what="c.onnx", why="of <another> world"),)
    plan = SearchPlan(target_ms=1.0, threads=(0,), repeats=2, frames=1)
    report = search(two_files, plan, dataset, frame(), left_out=left)
    write_search_page(tmp_path / "page.html", report, None)
    page = (tmp_path / "page.html").read_text()
    assert "of &lt;another&gt; world" in page
    assert "b.onnx with threads unset: p50 4.00 ms" in page
    assert "<pre>" not in page


@pytest.mark.slow
def test_the_page_does_not_scroll_sideways_in_a_window_of_1280_px(
    fake_times: type[FakeDetector], tiny_onnx: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """With names as long as those of exported files, large times, and a line about a file that was left out."""
    names = ("person-192x320-pruned-int8.onnx", "person-320-distilled-float16.onnx")
    files = [Path(shutil.copy(tiny_onnx, tmp_path / name)) for name in names]
    fake_times.seconds.update({(name, 0): 1.2345 * number for number, name in enumerate(names, 1)})
    left = (LeftOut(what="person-480-int8.onnx", why="int8 has no advantage: it is slower than float32 " * 3),)
    plan = SearchPlan(target_ms=5000.0, threads=(0,), repeats=2, frames=1)
    report = search(files, plan, dataset, frame(), left_out=left)
    write_search_page(tmp_path / "report.html", report, tmp_path)
    with headless_browser() as running:
        page = running.new_page(viewport={"width": 1280, "height": 720})
        page.goto((tmp_path / "report.html").as_uri())
        assert page.locator("svg").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        rows_px = page.evaluate("document.querySelector('table').scrollWidth")
        assert rows_px > 1280, "the rows scroll within the page; too short ones would test nothing"


def test_the_command_names_the_file_as_it_can_be_found(
    fake_times: type[FakeDetector], two_files: list[Path], dataset: Dataset
) -> None:
    fake_times.seconds.update({("a.onnx", 2): 0.004, ("b.onnx", 2): 0.009})
    plan = SearchPlan(target_ms=5.0, threads=(2,), repeats=2, frames=1)
    report: SearchReport = search(two_files, plan, dataset, frame())
    assert command_of(report, two_files[0].parent) == f"mmp-run {two_files[0]} --camera 0 --threads 2"
    assert command_of(report, None) == "mmp-run a.onnx --camera 0 --threads 2"
    assert "within 5 ms the most accurate is a.onnx with 2 threads: p50 4.00 ms" in verdict(report)
