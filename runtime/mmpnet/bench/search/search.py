"""Find the most accurate setting within a time budget: every file with every number of threads, timed in turns and
evaluated on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mmpnet.bench.environment import current_conditions, installed_versions, machine_facts
from mmpnet.bench.interleaved import take_turns
from mmpnet.bench.latency import STAGES, opencv_threads, stage_times_ms, warm_up
from mmpnet.bench.search.choices import Rank
from mmpnet.bench.search.report import FileReport, Judge, LeftOut, SearchReport, SettingReport
from mmpnet.bench.statistics import Floats, StageReport, summarize
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import ContractError
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import evaluate
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.runtime.inference.providers import Provider
from mmpnet.system.progress import Progress, no_progress
from mmpnet.system.timing import LEAST_SAMPLES

ACCURACIES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What is timed and how: every setting in `repeats` repeats of `frames` frames. The percentile `rank` of the times
    must meet the target; p50 is the median of the repeats' medians."""

    target_ms: float
    rank: Rank = "p50"
    threads: tuple[int, ...] = (1,)
    provider: Provider = "auto"
    repeats: int = 5
    frames: int = 40
    seed: int = 0


def search(
    paths: Sequence[Path],
    plan: SearchPlan,
    dataset: Dataset,
    frame_bgr: UInt8Array,
    *,
    left_out: Sequence[LeftOut] = (),
    progress: Progress = no_progress,
) -> SearchReport:
    """Time and evaluate every file.

    Raises: ContractError for a bad file, or for two files with one name; DeviceError if the provider is not available;
    DatasetError if there is nothing to measure.
    """
    require_samples(plan)
    names = [path.name for path in paths]
    if len(set(names)) != len(names):
        raise ContractError(f"model files must have different names, got {', '.join(names)}; rename one")
    files = [_file_report(path, dataset) for path in progress(paths, "accuracy")]
    before = current_conditions()
    combinations = [(path, threads) for path in paths for threads in plan.threads]
    times_ms, provider = _timed(combinations, plan, frame_bgr, progress)
    ap_of = {file.file: file.accuracy["AP"] or 0.0 for file in files}
    settings = _setting_reports(combinations, times_ms, ap_of, plan)
    return SearchReport(
        target_ms=plan.target_ms,
        rank=plan.rank,
        chosen=choose(settings),
        settings=tuple(settings),
        files=tuple(files),
        left_out=tuple(left_out),
        judge=_judge(dataset),
        frame_hw=(frame_bgr.shape[0], frame_bgr.shape[1]),
        provider=provider,
        repeats=plan.repeats,
        frames=plan.frames,
        machine=machine_facts(),
        versions=installed_versions(),
        before=before,
        after=current_conditions(),
    )


def require_samples(plan: SearchPlan) -> None:
    """Raises: ContractError if the frames are too few for the percentile."""
    least, planned = LEAST_SAMPLES[int(plan.rank[1:])], plan.repeats * plan.frames
    if planned < least:
        raise ContractError(
            f"{plan.rank} of {planned} frames is unreliable, expected at least {least}; raise --repeats or --frames"
        )


def on_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each (time, accuracy): whether no other is at least as good in both and better in one."""
    return [
        not any(ms <= own_ms and ap >= own_ap and (ms < own_ms or ap > own_ap) for ms, ap in points)
        for own_ms, own_ap in points
    ]


def choose(settings: Sequence[SettingReport]) -> int | None:
    """Index of the most accurate setting within the target; of equals, fewer threads win, then the faster setting."""
    within = [index for index, one in enumerate(settings) if one.within]
    return min(
        within,
        key=lambda index: (-settings[index].AP, settings[index].threads or np.inf, settings[index].time_ms),
        default=None,
    )


def _timed(
    settings: Sequence[tuple[Path, int]],
    plan: SearchPlan,
    frame_bgr: UInt8Array,
    progress: Progress,
) -> tuple[list[list[Floats]], str]:
    """Time all settings; returns ms (frames, len(STAGES)) per setting and repeat, and the provider in use.

    Each repeat goes through all settings in a new order, so that other load on the machine affects them alike. A
    setting's session is opened for each repeat, so that a small device need not hold them all. Threads sleep between
    frames, as in mmp-run with cameras.
    """
    providers: list[str] = []

    def repeat(path: Path, threads: int) -> Floats:
        opencv_threads(threads)
        with Detector(path, provider=plan.provider, threads=threads, spin=False) as detector:
            providers.append(detector.provider)
            warm_up(detector, frame_bgr, seconds=0)
            return np.array([stage_times_ms(detector, frame_bgr) for _ in range(plan.frames)])

    times_ms = take_turns(
        [partial(repeat, *setting) for setting in settings],
        rounds=plan.repeats,
        seed=plan.seed,
        progress=lambda turns: progress(turns, "latency"),
    )
    return times_ms, providers[-1]


def _setting_reports(
    combinations: Sequence[tuple[Path, int]],
    times_ms: Sequence[Sequence[Floats]],
    ap_of: Mapping[str, float],
    plan: SearchPlan,
) -> list[SettingReport]:
    """The settings' reports, fastest first."""
    times = [_times(repeats_ms, plan.rank) for repeats_ms in times_ms]
    front = on_front(
        [(time_ms, ap_of[path.name]) for (path, _), (_, _, time_ms) in zip(combinations, times, strict=True)]
    )
    reports = [
        SettingReport(
            file=path.name,
            threads=threads,
            end_to_end=end_to_end,
            infer_ms=infer_ms,
            time_ms=time_ms,
            AP=ap_of[path.name],
            within=time_ms <= plan.target_ms,
            front=there,
            noisy=end_to_end.noisy,
        )
        for (path, threads), (end_to_end, infer_ms, time_ms), there in zip(combinations, times, front, strict=True)
    ]
    return sorted(reports, key=lambda one: one.time_ms)


def _times(repeats_ms: Sequence[Floats], rank: Rank) -> tuple[StageReport, float, float]:
    """The end-to-end times, the model's median, and the time to compare with the target."""
    end_to_end = summarize([rows[:, STAGES.index("end_to_end")] for rows in repeats_ms])
    infer = summarize([rows[:, STAGES.index("infer")] for rows in repeats_ms])
    ranked = end_to_end.median_ms if rank == "p50" else end_to_end.percentiles_ms[rank]
    assert ranked is not None, "require_samples checks this"
    return end_to_end, infer.median_ms, ranked


def _file_report(path: Path, dataset: Dataset) -> FileReport:
    file = read_model_file(path)
    with Detector(path, thresholds=EVALUATION_THRESHOLDS, provider="cpu") as detector:
        found = evaluate(detector, dataset, detector.class_names)
        metadata = detector.metadata
    return FileReport(
        file=path.name,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        precision=metadata.precision,
        input_hw=metadata.input.size_hw,
        accuracy={name: None if found.coco[name] is None else round(found.ap(name), 4) for name in ACCURACIES},
    )


def _judge(dataset: Dataset) -> Judge:
    return Judge(
        name=dataset.name,
        sha256=dataset.sha256,
        n_images=len(dataset.images),
        n_boxes=dataset.num_boxes,
        protocol=EVALUATION_PROTOCOL,
    )
