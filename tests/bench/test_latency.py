"""mmp-bench: statistics equal slow references, verdicts fit detectors of known speed, and the command line works."""

import json
import math
import random
import statistics
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from mmpnet.bench import compare as bench_compare
from mmpnet.bench.cold_start import cold_start
from mmpnet.bench.compare import Comparison, ComparisonRules, Side, compare_models, judge, parse_side
from mmpnet.bench.latency import DEFAULT_FRAME_HW, LatencyPlan, LatencyReport, measure_latency, paced, sample_frame
from mmpnet.bench.statistics import RESAMPLES, block_length, median_interval, summarize
from mmpnet.cli.bench.command import app
from mmpnet.cli.bench.tables import noise_line
from mmpnet.contract.errors import ContractError, DeviceError
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.system import machine
from mmpnet.system.machine import frequency_governor, peak_memory_mb, temperature_c, throttle_count
from mmpnet.system.timing import LEAST_SAMPLES, Samples, percentiles

QUICK = ("--duration", "0.02", "--repeats", "3", "--warm-up", "0", "--cold-starts", "0", "--frame-size", "96x64")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


class FakeDetector:
    """Replaces Detector: finds nothing, in a known time; `path` is the name of the model."""

    provider = "cpu"
    seconds: dict[str, float] = {"slow": 0.004, "fast": 0.001}  # noqa: RUF012

    def __init__(self, path: Path | str = "fast", **_: Any) -> None:
        self.path = Path(path)

    def __call__(self, frame_bgr: Any) -> list[Any]:
        self.timed(frame_bgr)
        return []

    def timed(self, frame_bgr: Any) -> tuple[Any, StageTimes]:
        del frame_bgr
        time.sleep(self.seconds[self.path.name])
        return None, StageTimes(preprocess_ms=0.1, infer_ms=0.5, postprocess_ms=0.1)

    def __enter__(self) -> "FakeDetector":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        pass


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`slow` and `fast` are the names of models."""
    monkeypatch.setattr(bench_compare, "Detector", FakeDetector)
    monkeypatch.setattr(bench_compare, "WARM_UP_S", 0.0)


@pytest.fixture(scope="module")
def report(tiny_onnx: Path) -> LatencyReport:
    plan = LatencyPlan(model=str(tiny_onnx), duration_s=0.02, repeats=3, rate_fps=200.0, warm_up_s=0.0, cold_starts=0)
    return measure_latency(plan, sample_frame(None, (64, 96)))


def stored(path: Path, report: LatencyReport, *, median_ms: float, spread: float = 0.02) -> Path:
    """A report as --json writes it, with these end-to-end times."""
    stages = report.back_to_back.stages
    times = np.array([1 - spread / 2, 1.0, 1 + spread / 2]) * median_ms
    changed = msgspec.structs.replace(stages, end_to_end=summarize([np.array([ms]) for ms in times]))
    fast = msgspec.structs.replace(report.back_to_back, stages=changed)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(report, back_to_back=fast)))
    return path


@pytest.mark.parametrize("rank", [90, 95, 99])
def test_the_least_samples_are_those_of_mlperf(rank: int) -> None:
    """The first n for which few samples exceed the percentile with 99 % confidence."""

    def chance_of_one_or_none_above(count: int) -> float:
        below = rank / 100
        return sum(math.comb(count, k) * (1 - below) ** k * below ** (count - k) for k in (0, 1))

    assert next(n for n in range(1, 1000) if chance_of_one_or_none_above(n) <= 0.01) == LEAST_SAMPLES[rank]


def test_a_percentile_needs_its_samples() -> None:
    for rank, least in LEAST_SAMPLES.items():
        values = np.random.default_rng(rank).random(least)
        assert percentiles(values, (rank,)) == {f"p{rank}": pytest.approx(np.percentile(values, rank))}
        assert percentiles(values[1:], (rank,)) == {f"p{rank}": None}
    assert list(Samples([1.0]).percentiles()) == ["p50", "p90", "p99"]


@pytest.mark.parametrize("seed", range(10))
def test_the_summary_is_the_median_of_medians_and_their_spread(seed: int) -> None:
    random_ = random.Random(seed)
    repeats = [[random_.uniform(5, 6) for _ in range(random_.randint(1, 9))] for _ in range(random_.randint(2, 6))]
    summary = summarize([np.array(repeat) for repeat in repeats])
    medians = [statistics.median(repeat) for repeat in repeats]
    assert summary.median_ms == pytest.approx(statistics.median(medians), abs=1e-4)
    assert summary.repeats_ms == pytest.approx(medians, abs=1e-4)
    assert summary.spread == pytest.approx((max(medians) - min(medians)) / statistics.median(medians), abs=1e-4)
    assert summary.samples == sum(map(len, repeats))
    assert summary.percentiles_ms["p50"] == pytest.approx(statistics.median(chain(*repeats)), abs=1e-4)
    assert summary.percentiles_ms["p99"] is None


@pytest.mark.parametrize(
    ("medians", "noisy"), [([10.0, 10.2, 10.4], False), ([10.0, 10.2, 10.6], True), ([10.0], None)]
)
def test_repeats_that_disagree_are_noisy(medians: list[float], noisy: bool | None) -> None:
    assert summarize([np.array([median]) for median in medians]).noisy is noisy


@pytest.mark.parametrize("count", [10, 27, 64])
def test_the_bootstrap_agrees_with_one_drawn_by_hand(count: int) -> None:
    values = np.random.default_rng(count).lognormal(size=count)
    block, draws = block_length(count), math.ceil(count / block_length(count))
    medians = []
    for starts in np.random.default_rng(7).integers(0, count, (RESAMPLES, draws)):
        drawn = [values[(start + step) % count] for start in starts for step in range(block)]
        medians.append(statistics.median(drawn[:count]))
    assert median_interval(values, seed=7) == pytest.approx(tuple(np.quantile(medians, [0.025, 0.975])))


def test_the_interval_holds_the_median_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        low, high = median_interval(np.random.default_rng(seed).normal(2.0, 0.3, 64), seed=seed)
        hits += low <= 2.0 <= high
    assert hits >= 50


def test_neighbors_that_are_alike_make_the_interval_wider() -> None:
    drifting = np.repeat(np.random.default_rng(3).normal(1.0, 0.1, 40), 10)
    mixed = np.random.default_rng(4).permutation(drifting)
    widths = [high - low for low, high in (median_interval(values, seed=0) for values in (drifting, mixed))]
    assert widths[0] > widths[1]


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((1.03, 1.5), "B is faster"),
        ((1.01, 1.5), "no difference shown"),
        ((0.9, 1.1), "no difference shown"),
        ((0.5, 0.99), "no difference shown"),
        ((0.5, 0.97), "A is faster"),
    ],
)
def test_the_whole_interval_must_lie_beyond_the_margin(interval: tuple[float, float], verdict: str) -> None:
    assert judge(interval, margin=0.02) == verdict


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [("slow", "fast", "B is faster"), ("fast", "slow", "A is faster"), ("slow", "slow", "no difference shown")],
)
@pytest.mark.usefixtures("fakes")
def test_sleeping_detectors_are_distinguished(a: str, b: str, verdict: str) -> None:
    first, second = (Side(text=name, model=name, provider="cpu", threads=1) for name in (a, b))
    rules = ComparisonRules(pairs=30, measured="end_to_end", margin=0.3, seed=0)
    comparison = compare_models(first, second, sample_frame(None, (8, 8)), rules)
    assert comparison.verdict == verdict
    assert comparison.interval[0] <= comparison.ratio <= comparison.interval[1]
    assert (comparison.a.text, comparison.b.text) == (a, b)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("person-320", ("person-320", "auto", 1)),
        ("person-320@threads=2", ("person-320", "auto", 2)),
        ("a@b/m.onnx@provider=cuda,threads=0", ("a@b/m.onnx", "cuda", 0)),
        ("a@b/m.onnx", ("a@b/m.onnx", "auto", 1)),
    ],
)
def test_a_side_is_a_model_with_settings(text: str, expected: tuple[str, str, int]) -> None:
    side = parse_side(text, provider="auto", threads=1)
    assert (side.model, side.provider, side.threads) == expected


def test_an_existing_file_is_never_read_as_settings(tmp_path: Path) -> None:
    path = tmp_path / "m@threads=2"
    path.touch()
    assert parse_side(str(path), provider="cpu", threads=1).model == str(path)


def test_a_slow_detector_drops_a_cameras_frames_and_a_fast_one_waits() -> None:
    slow = paced(FakeDetector("slow"), sample_frame(None, (8, 8)), duration_s=0.1, rate_fps=1000.0)  # type: ignore[arg-type]
    assert slow.dropped > 0
    assert slow.stages.infer.samples + slow.dropped >= 100
    fast = paced(FakeDetector("fast"), sample_frame(None, (8, 8)), duration_s=0.5, rate_fps=20.0)  # type: ignore[arg-type]
    assert fast.stages.infer.samples + fast.dropped >= 10
    assert fast.cpu_percent < 90


def test_a_fresh_process_is_timed_and_its_memory_is_its_own(tiny_onnx: Path) -> None:
    found = cold_start(tiny_onnx, provider="cpu", threads=1, frame_hw=(64, 96), processes=1)
    assert found is not None
    assert found.seconds > 0
    ours = peak_memory_mb()
    if ours is not None:  # these tests have torch in memory, but the fresh process does not
        assert found.peak_memory_mb is not None
        assert 10 < found.peak_memory_mb < ours


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"absent\.onnx"):
        cold_start(tmp_path / "absent.onnx", provider="cpu", threads=1, frame_hw=(8, 8), processes=1)


def test_no_fresh_process_is_no_cold_start(tiny_onnx: Path) -> None:
    assert cold_start(tiny_onnx, provider="cpu", threads=1, frame_hw=(8, 8), processes=0) is None


def test_sensors_are_read_where_there_are_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SYSFS", tmp_path)
    assert (temperature_c(), throttle_count(), frequency_governor()) == (None, None, None)
    for name, content in {
        "class/thermal/thermal_zone0/type": "x86_pkg_temp",
        "class/thermal/thermal_zone0/temp": "51000\n",
        "class/thermal/thermal_zone1/type": "iwlwifi",
        "class/thermal/thermal_zone1/temp": "99000",
        "class/hwmon/hwmon0/name": "k10temp",
        "class/hwmon/hwmon0/temp1_input": "62500",
        "class/hwmon/hwmon0/temp2_input": "",
        "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3",
        "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4",
        "devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert (temperature_c(), throttle_count(), frequency_governor()) == (62.5, 7, "powersave")


def test_the_report_says_what_was_measured(report: LatencyReport, tiny_onnx: Path) -> None:
    stages = report.back_to_back.stages
    parts = (stages.preprocess, stages.infer, stages.postprocess)
    assert len({stage.samples for stage in (*parts, stages.end_to_end)}) == 1
    assert stages.end_to_end.median_ms > stages.infer.median_ms
    assert len(stages.infer.repeats_ms) == 3
    assert report.paced.stages.infer.spread is None
    assert report.settings.frame_hw == (64, 96)
    assert report.model.file == tiny_onnx.name
    assert report.model.size_bytes == tiny_onnx.stat().st_size
    assert report.model.multiply_adds is not None
    assert report.noisy is stages.end_to_end.noisy


def test_noise_is_one_line(report: LatencyReport) -> None:
    stages = report.back_to_back.stages
    wild = msgspec.structs.replace(stages, end_to_end=summarize([np.array([1.0]), np.array([2.0])]))
    fast = msgspec.structs.replace(report.back_to_back, stages=wild)
    line = noise_line(msgspec.structs.replace(report, back_to_back=fast, noisy=True))
    assert line is not None
    assert line.startswith("noisy: the repeats' medians are 67% apart, more than 5%")
    assert noise_line(msgspec.structs.replace(report, noisy=False)) is None
    assert noise_line(msgspec.structs.replace(report, noisy=None)) is None


def test_json_is_one_document_with_everything(tiny_onnx: Path) -> None:
    code, stdout, _ = run(tiny_onnx, *QUICK, "--json")
    assert code == 0
    document = json.loads(stdout)
    assert document["report"] == "mmp-bench run"
    stage = document["back_to_back"]["stages"]["end_to_end"]
    assert list(stage["percentiles_ms"]) == ["p50", "p90", "p95", "p99"]
    assert document["paced"]["stages"]["infer"]["percentiles_ms"]["p99"] is None
    assert document["settings"]["provider"] == "cpu"
    assert document["cold_start"] is None
    assert {"load_average", "temperature_c", "throttle_count", "governor"} == set(document["before"])
    assert {"mmpnet", "onnxruntime", "opencv", "numpy", "python"} == set(document["versions"])
    assert len(document["model"]["sha256"]) == 64
    assert msgspec.json.decode(stdout, type=LatencyReport).settings.threads == 1


def test_the_keys_of_stored_reports_stay(report: LatencyReport) -> None:
    """Reports of earlier versions are comparable with new ones."""
    image = msgspec.structs.replace(report.settings, image="street.png")
    document = msgspec.to_builtins(msgspec.structs.replace(report, settings=image))
    assert document["settings"]["picture"] == "street.png"
    assert set(document["settings"]) == {
        *("provider", "threads", "frame_hw", "picture", "duration_s", "repeats", "warm_up_s"),
    }
    assert msgspec.convert(document, LatencyReport).settings.image == "street.png"


def test_the_table_does_not_print_percentiles_that_were_not_earned(tiny_onnx: Path) -> None:
    code, stdout, _ = run(tiny_onnx, *QUICK)
    assert code == 0
    for words in (
        "insufficient samples",
        "end to end",
        "infer is the model alone",
        "frames per second",
        "multiply-adds",
    ):
        assert words in stdout


@pytest.mark.parametrize(
    ("arguments", "plan"),
    [
        ([], LatencyPlan()),
        (["person-320-int8"], LatencyPlan(model="person-320-int8")),
        (["run", "person-320-int8"], LatencyPlan(model="person-320-int8")),
        (["--threads", "2", "m.onnx", "--rate", "30"], LatencyPlan(model="m.onnx", threads=2, rate_fps=30.0)),
    ],
)
def test_without_a_commands_name_it_is_run(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], plan: LatencyPlan
) -> None:
    asked: list[LatencyPlan] = []

    def refuse(asked_plan: LatencyPlan, *_: object, **__: object) -> LatencyReport:
        asked.append(asked_plan)
        raise ContractError("enough")

    monkeypatch.setattr("mmpnet.bench.latency.measure_latency", refuse)
    code, _, stderr = run(*arguments)
    assert (code, stderr) == (1, "error: enough\n")
    assert asked == [plan]


def test_help_names_the_commands() -> None:
    code, stdout, _ = run("--help")
    assert code == 0
    assert all(name in stdout for name in ("run", "compare", "layers"))


def test_an_image_keeps_its_size_unless_another_one_is_given(dataset_folder: Path) -> None:
    image = dataset_folder / "images" / "val_001.png"
    assert sample_frame(image, None).shape == (96, 128, 3)
    assert sample_frame(image, (48, 32)).shape == (48, 32, 3)
    assert sample_frame(None, None).shape == (*DEFAULT_FRAME_HW, 3)


def test_models_are_compared_from_the_command_line(tiny_onnx: Path) -> None:
    arguments = (tiny_onnx, f"{tiny_onnx}@threads=1,provider=cpu", "--pairs", "10", "--frame-size", "96x64")
    code, stdout, stderr = run("compare", *arguments, "--json", "--infer-only")
    assert code == 0, stderr
    comparison = msgspec.json.decode(stdout, type=Comparison)
    assert (comparison.pairs, comparison.interleaved, comparison.measured) == (10, True, "infer")
    assert "block bootstrap" in comparison.interval_is
    assert comparison.frame_hw == (64, 96)


@pytest.mark.usefixtures("fakes")
def test_a_ratio_below_what_is_requested_has_its_own_exit_code() -> None:
    arguments = ("compare", "slow", "fast", "--pairs", "20", "--frame-size", "8x8")
    code, stdout, stderr = run(*arguments, "--at-least", "1.1")
    assert (code, stderr) == (0, "")
    assert "B is faster" in stdout
    code, stdout, stderr = run(*arguments, "--at-least", "100", "--json")
    assert code == 3
    assert json.loads(stdout)["verdict"] == "B is faster"
    (line,) = stderr.splitlines()
    assert "below --at-least 100" in line


def test_stored_reports_are_compared_by_their_medians(report: LatencyReport, tmp_path: Path) -> None:
    a = stored(tmp_path / "a.json", report, median_ms=20.0)
    b = stored(tmp_path / "b.json", report, median_ms=10.0)
    code, stdout, _ = run("compare", a, b, "--json")
    comparison = msgspec.json.decode(stdout, type=Comparison)
    assert code == 0
    assert comparison.ratio == pytest.approx(2.0)
    assert comparison.interval == pytest.approx((2 * 0.99 / 1.01, 2 * 1.01 / 0.99), abs=1e-3)
    assert (comparison.interleaved, comparison.pairs, comparison.verdict) == (False, None, "B is faster")
    code, stdout, _ = run("compare", a, b, "--at-least", "2")
    assert code == 3
    assert "not interleaved" in stdout


def test_a_stored_report_that_disagrees_with_itself_is_named(report: LatencyReport, tmp_path: Path) -> None:
    a = stored(tmp_path / "a.json", report, median_ms=20.0)
    b = stored(tmp_path / "b.json", report, median_ms=10.0, spread=0.2)
    assert "noisy" not in "".join(run("compare", a, a)[1:])
    code, stdout, _ = run("compare", a, b)
    assert code == 0
    assert f"but {b} noisy" in stdout
    document = json.loads(run("compare", a, b, "--json")[1])
    assert (document["a"]["noisy"], document["b"]["noisy"]) == (False, True)


def other_machine(report: LatencyReport) -> LatencyReport:
    return msgspec.structs.replace(report, machine=msgspec.structs.replace(report.machine, cpu="another"))


def other_frame(report: LatencyReport) -> LatencyReport:
    return msgspec.structs.replace(report, settings=msgspec.structs.replace(report.settings, frame_hw=(1, 2)))


@pytest.mark.parametrize(("change", "message"), [(other_machine, "another"), (other_frame, "2x1")])
def test_reports_that_do_not_belong_together_are_refused_unless_forced(
    report: LatencyReport, tmp_path: Path, change: Callable[[LatencyReport], LatencyReport], message: str
) -> None:
    a = stored(tmp_path / "a.json", report, median_ms=20.0)
    b = stored(tmp_path / "b.json", change(report), median_ms=10.0)
    code, stdout, stderr = run("compare", a, b, "--json")
    assert (code, stdout) == (1, "")
    (line,) = stderr.splitlines()
    assert message in line
    assert "--force" in line
    assert run("compare", a, b, "--json", "--force")[0] == 0


@pytest.mark.parametrize("content", ["", "[]", '{"report": "mmp-bench compare"}', '{"report": "mmp-bench run"}'])
def test_what_is_not_a_report_is_one_line(report: LatencyReport, tmp_path: Path, content: str) -> None:
    a = stored(tmp_path / "a.json", report, median_ms=1.0)
    b = tmp_path / "b.json"
    b.write_text(content)
    code, stdout, stderr = run("compare", a, b)
    assert (code, stdout) == (1, "")
    (line,) = stderr.splitlines()
    assert f"{b}: is not a report" in line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.onnx"], 1, "absent.onnx: no such model file"),
        (["absent.onnx", "--image", "absent.png"], 1, "absent.png: cannot be read"),
        (["--frame-size", "big"], 2, "WIDTHxHEIGHT"),
        (["--provider", "tpu"], 2, "tpu"),
        (["--duration", "0"], 2, "--duration"),
        (["compare", "person-320"], 2, "Missing argument"),
        (["compare", "absent.json", "absent.json"], 1, "absent.json: cannot be read"),
        (["compare", "a.json", "person-320"], 2, "two stored reports"),
        (["compare", "person-320", "person-320@thread=2"], 2, "unknown setting 'thread=2'"),
        (["compare", "person-320", "absent.onnx", "--frame-size", "8x8"], 1, "absent.onnx: no such model file"),
    ],
)
def test_bad_requests_are_named(arguments: list[str], code: int, message: str) -> None:
    found, stdout, stderr = run(*arguments)
    assert (found, stdout) == (code, "")
    assert message in stderr
    if code == 1:
        assert len(stderr.splitlines()) == 1
