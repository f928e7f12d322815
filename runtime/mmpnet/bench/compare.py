"""Compare the speed of two models on this machine: interleaved runs, the interval of the ratio, and a verdict."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, get_args

import msgspec
import numpy as np

from mmpnet.bench.environment import LibraryVersions, MachineFacts, installed_versions, machine_facts
from mmpnet.bench.interleaved import take_turns
from mmpnet.bench.latency import STAGES, opencv_threads, stage_times_ms, warm_up
from mmpnet.bench.statistics import CONFIDENCE, RESAMPLES, Floats, block_length, median_interval
from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.providers import Provider
from mmpnet.system.files import is_file

Verdict: TypeAlias = Literal["A is faster", "B is faster", "no difference shown"]
ComparedStage: TypeAlias = Literal["end_to_end", "infer"]
WARM_UP_S = 0.5
BOOTSTRAP = "interval of the pairs' median ratio, circular block bootstrap"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two models; `text` is the user's argument."""

    text: str
    model: str
    provider: Provider
    threads: int


@dataclass(frozen=True, slots=True)
class ComparisonRules:
    """How two models are compared; differences of at most `margin` are ignored."""

    pairs: int
    measured: ComparedStage
    margin: float
    seed: int


class SideReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one side; median_ms is that of one frame. noisy: the repeats of a stored report disagree."""

    text: str
    file: str
    provider: str
    threads: int
    median_ms: float
    noisy: bool | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="mmp-bench compare"):
    """The comparison; ratio is time of A / time of B, so that 2.0 means that B is twice as fast.

    pairs is None, and interleaved False, if two stored reports were compared. `interval_is` describes `interval`.
    """

    schema: int = 1
    a: SideReport
    b: SideReport
    measured: ComparedStage
    frame_hw: tuple[int, int]
    interleaved: bool
    pairs: int | None
    ratio: float
    interval: tuple[float, float]
    interval_is: str
    margin: float
    verdict: Verdict
    machine: MachineFacts
    versions: LibraryVersions


def parse_side(text: str, *, provider: Provider, threads: int) -> Side:
    """Parse `MODEL` or `MODEL@threads=2,provider=cuda`; the arguments are the defaults of missing settings.

    Raises: ValueError for an unknown setting.
    """
    model, at, settings = text.rpartition("@")
    if not at or "=" not in settings or is_file(model_path(text)):
        return Side(text, text, provider, threads)
    providers: tuple[Provider, ...] = get_args(Provider)
    for setting in settings.split(","):
        name, _, value = setting.partition("=")
        if name == "threads" and value.isdecimal() and int(value) <= 1024:
            threads = int(value)
        elif name == "provider" and value in providers:
            provider = providers[providers.index(value)]
        else:
            raise ValueError(
                f"{text}: unknown setting {setting!r}; expected threads=N or provider={'|'.join(providers)}"
            )
    return Side(text, model, provider, threads)


def compare_models(a: Side, b: Side, frame_bgr: UInt8Array, rules: ComparisonRules) -> Comparison:
    """Time both models alternately on one frame.

    Spinning of ONNX Runtime's threads is off, as waiting threads of one model would occupy the other's cores; OpenCV
    uses one thread.

    Raises: ContractError for a bad file, DeviceError if the provider is not available.
    """
    opencv_threads(1)
    column = STAGES.index(rules.measured)
    with _opened(a) as first, _opened(b) as second:
        for detector in (first, second):
            warm_up(detector, frame_bgr, seconds=WARM_UP_S)
        turns = [partial(_time_ms, detector, frame_bgr, column) for detector in (first, second)]
        times_ms: Floats = np.array(take_turns(turns, rounds=rules.pairs, seed=rules.seed)).T  # (pairs, 2)
        sides = _side_report(a, first, times_ms[:, 0]), _side_report(b, second, times_ms[:, 1])
    ratios = times_ms[:, 0] / times_ms[:, 1]
    low, high = median_interval(ratios, seed=rules.seed)
    return Comparison(
        a=sides[0],
        b=sides[1],
        measured=rules.measured,
        frame_hw=(frame_bgr.shape[0], frame_bgr.shape[1]),
        interleaved=True,
        pairs=rules.pairs,
        ratio=round(float(np.median(ratios)), 4),
        interval=(round(low, 4), round(high, 4)),
        interval_is=f"{CONFIDENCE:.0%} {BOOTSTRAP}, blocks of {block_length(rules.pairs)}, {RESAMPLES} resamples",
        margin=rules.margin,
        verdict=judge((low, high), margin=rules.margin),
        machine=machine_facts(),
        versions=installed_versions(),
    )


def judge(interval: tuple[float, float], *, margin: float) -> Verdict:
    """A model is faster only if the whole interval is beyond the margin."""
    low, high = interval
    if low > 1 + margin:
        return "B is faster"
    if high < 1 / (1 + margin):
        return "A is faster"
    return "no difference shown"


def _time_ms(detector: Detector, frame_bgr: UInt8Array, column: int) -> float:
    return stage_times_ms(detector, frame_bgr)[column]


def _opened(side: Side) -> Detector:
    return Detector(model_path(side.model), provider=side.provider, threads=side.threads, spin=False)


def _side_report(side: Side, detector: Detector, times_ms: Floats) -> SideReport:
    return SideReport(
        text=side.text,
        file=detector.path.name,
        provider=detector.provider,
        threads=side.threads,
        median_ms=round(float(np.median(times_ms)), 4),
    )
