"""The training benchmark: its step is that of mmp-train, its counts are correct, bad options give one line."""

import itertools
import json
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import training
from harness.training import turns as training_turns
from harness.training.allocator import measured
from harness.training.batches import endless
from harness.training.speeds import LoaderSpeed, cores_allow
from harness.training.step import StepBench, StepWay, step_config, synthetic_batch
from harness.training.tables import verdict
from harness.training.turns import (
    PREFETCHED,
    TurnPlan,
    TurnResult,
    step_alone,
    turns_of_kinds,
    with_loader,
)
from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.types import Dataset
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.artifacts.provenance import provenance_of
from mmpnet.train.assignment import LabelGrid
from mmpnet.train.engine.run_writer import RunWriter
from mmpnet.train.engine.state import TrainingState, start_state
from mmpnet.train.engine.trainer import RunImages, Trainer
from mmpnet.train.loading.image_cache import StoredImages
from mmpnet.train.loading.loader import Batch
from support.coco_writer import write_coco
from support.train_configs import changed

CPU = torch.device("cpu")
SMALL = ("--batch", "2", "--imgsz", "64", "--seconds", "0", "--rounds", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four labeled images: two batches of two. Read only."""
    folder = tmp_path_factory.mktemp("four")
    write_coco(folder / "train.json", count=4, seed=3)
    return folder


@pytest.fixture
def config() -> TrainConfig:
    """The recipe for two images of 64 px."""
    return step_config(CPU, batch=2, side_px=64, freeze=0)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(training.app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def stored(dataset: Dataset) -> StoredImages:
    return StoredImages(dataset.images, 128)


def trained(config: TrainConfig, dataset: Dataset, folder: Path) -> TrainingState:
    """The files of mmp-train after one epoch."""
    model = config.model_config(dataset.class_names)
    state = start_state(config, model, weights="none")
    writer = RunWriter(folder, config, model, provenance_of(config, dataset, None), writes=False)
    Trainer(config, model, RunImages(dataset, stored(dataset), None), writer).train(state)
    return state


@pytest.mark.parametrize("freeze", [0, 4])
def test_step_and_batches_are_those_of_a_run(
    images: Path, tmp_path: Path, freeze: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training.step._STEPS_PER_RUN", 2)  # as in the run below, as the rate depends on it
    dataset = open_dataset(images, "train")
    config = step_config(CPU, batch=2, side_px=64, freeze=freeze)
    bench = StepBench(StepWay(config), dataset.class_names)
    untrained = changed(config, workers=0)
    expected = trained(untrained, dataset, tmp_path)
    with closing(endless(dataset, stored(dataset), batch=2, side_px=64, workers=0)) as batches:
        for batch in itertools.islice(batches, 2):
            bench.step(batch)
    start = start_state(untrained, config.model_config(dataset.class_names), weights="none").network.state_dict()
    for found, wanted in (
        (bench.state.network, expected.network),
        (bench.state.averaged_network, expected.averaged_network),
    ):
        weights = found.state_dict()
        torch.testing.assert_close(weights, wanted.state_dict(), rtol=0, atol=0)
        assert not torch.equal(weights["predict.bias"], start["predict.bias"])


def test_the_synthetic_batch_is_made_like_a_loaded_one(images: Path, config: TrainConfig) -> None:
    dataset = open_dataset(images, "train")
    with closing(endless(dataset, stored(dataset), batch=2, side_px=64, workers=0)) as batches:
        loaded = next(batches)
    made = synthetic_batch(config)
    for one, other in (
        (made.images_bgr, loaded.images_bgr),
        (made.target.labels, loaded.target.labels),
    ):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    positives = int(made.target.positive.sum())
    assert positives == 2 * 12
    assert made.target.boxes_xyxy.shape == (positives, 4)
    assert made.target.boxes_xyxy.dtype == loaded.target.boxes_xyxy.dtype
    assert made.target.scores.shape == (positives,)
    assert made.target.scores.dtype == loaded.target.scores.dtype


def test_batches_continue_after_an_epoch_and_a_bad_image_ends_them(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path / "train.json", count=4, seed=3), "train")
    with closing(endless(dataset, stored(dataset), batch=2, side_px=64, workers=0)) as batches:
        first, _, third = itertools.islice(batches, 3)
        assert third.images_bgr.shape == (2, 64, 64, 3)
        assert not torch.equal(first.images_bgr, third.images_bgr)
        for file in (tmp_path / "images").iterdir():
            file.write_bytes(b"no image")
        with pytest.raises(DatasetError):
            list(itertools.islice(batches, 4))


class Clock:
    """A clock that advances only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s

    def passes(self, seconds: float) -> None:
        self.now_s += seconds


class FakeBench:
    """A step of one second, of which a GPU would still have half to do."""

    device = CPU
    peak_gpu_mb = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.steps = 0

    def step(self, batch: Batch) -> None:
        del batch
        self.steps += 1
        self._clock.passes(1.0)

    def finish(self) -> None:
        self._clock.passes(0.5)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(training_turns, "time", clock)
    return clock


def empty_batch(images: int) -> Batch:
    return Batch(
        images_bgr=torch.zeros((images, 8, 8, 3), dtype=torch.uint8),
        target=LabelGrid(torch.zeros((images, 1, 1, 1, 1)), torch.zeros((0, 4)), torch.zeros(0)),
    )


def test_a_turn_counts_waiting_steps_and_what_the_device_has_left(clock: Clock) -> None:
    bench, opened, drawn = FakeBench(clock), [], []

    def loader() -> Generator[Batch, None, None]:
        opened.append("opened")
        try:
            while True:
                clock.passes(3.0)
                drawn.append(1)
                yield empty_batch(5)
        finally:
            opened.append("closed")

    plan = TurnPlan(rounds=1, seconds=17.0, workers=2)
    together = with_loader(loader, bench.step, bench, plan)()  # type: ignore[arg-type]
    # Five timed steps of four seconds are the first to reach 17, plus half a second of the device's own afterwards.
    assert bench.steps == len(drawn) == PREFETCHED * 2 + 1 + 5
    assert opened == ["opened", "closed"]
    assert together.images_per_s == pytest.approx(5 * 5 / 20.5)
    assert together.waiting == pytest.approx(5 * 3 / 20.5)
    alone = with_loader(loader, lambda _: None, bench, plan)()  # type: ignore[arg-type]
    assert alone.images_per_s == pytest.approx(6 * 5 / 18.5)
    assert opened == ["opened", "closed"] * 2
    step = step_alone(bench, [empty_batch(5), empty_batch(3)], plan)()  # type: ignore[arg-type]
    # Three of warm-up, so that the 17 timed steps start with a batch of three.
    assert step.images_per_s == pytest.approx((9 * 3 + 8 * 5) / 17.5)
    assert step.waiting == 0


def test_every_kind_has_one_turn_a_round(clock: Clock) -> None:
    bench = FakeBench(clock)
    order: list[str] = []

    def kind(name: str) -> Callable[[], TurnResult]:
        turn = step_alone(bench, [empty_batch(2)], TurnPlan(rounds=1, seconds=0, workers=0))  # type: ignore[arg-type]

        def noted() -> TurnResult:
            order.append(name)
            return turn()

        return noted

    turns = turns_of_kinds({name: kind(name) for name in "abc"}, 4)
    rounds = np.array(order).reshape(4, 3)
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds.tolist())
    assert len({tuple(names) for names in rounds.tolist()}) > 1
    assert {name: len(of_kind) for name, of_kind in turns.items()} == {"a": 4, "b": 4, "c": 4}


@pytest.mark.parametrize(
    ("step", "loader", "step_cores", "loader_cores", "cores", "kept"),
    [
        (20.0, 200.0, 2, 1, 2, 2 / 2.1),  # an image takes 0.1 core seconds in the step and 0.005 in the loader
        (20.0, 200.0, 1, 1, 2, 1.0),
        (20.0, 15.0, 1, 8, 16, 0.75),
        (20.0, 20.0, 2, 2, 2, 0.5),
        (20.0, 60.0, 2, 0, 2, 0.75),  # one after the other: 1/20 s and 1/60 s per image
    ],
)
def test_what_cores_allow_is_their_time_shared(
    step: float, loader: float, step_cores: float, loader_cores: float, cores: float, kept: float
) -> None:
    allowed = cores_allow(step, loader, step_cores=step_cores, loader_cores=loader_cores, cores=cores)
    assert allowed == pytest.approx(kept)


@pytest.mark.parametrize(
    ("loader", "kept", "words"),
    [
        (600.0, 0.96, "96.0% of the step's speed kept (94.0% to 97.0%), the aim of 95% is reached"),
        (600.0, 0.94, "though the loader alone is 30.0 times as fast as the step: they contend for the cores"),
        (18.0, 0.85, "the loader alone is slower than the step"),
    ],
)
def test_what_is_missing_is_put_down_to_its_cause(loader: float, kept: float, words: str) -> None:
    row = LoaderSpeed(
        device="cpu",
        source="cache",
        loader_alone=loader,
        step_alone=20.0,
        together=20.0 * kept,
        kept=kept,
        kept_rounds=(0.94, kept, 0.97),
        waiting=0.0,
        cores_allow=0.983,
        peak_gpu_mb=None,
    )
    assert words in verdict(row)


def test_without_data_steps_are_timed_for_each_freeze(tmp_path: Path) -> None:
    figure = tmp_path / "steps.png"
    code, stdout, stderr = run(*SMALL, "--freeze", 4, "--freeze", 7, "--figure", figure, "--json")
    assert code == 0, stderr
    result = json.loads(stdout)
    assert [row["freeze"] for row in result["rows"]] == result["freeze"] == [4, 7]
    first, second = result["rows"]
    assert first["ratio"] == 1
    assert second["ratio"] == pytest.approx(second["images_per_s"] / first["images_per_s"])
    assert (result["data"], result["batch"], result["imgsz"]) == (None, 2, 64)
    assert [(one["device"], one["threads"]) for one in result["devices"]] == [("cpu", torch.get_num_threads())]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_each_step_is_timed_in_other_ways_too() -> None:
    code, stdout, stderr = run(*SMALL, "--freeze", 4, "--compile", "--no-amp", "--channels-first", "--json")
    assert code == 0, stderr
    rows = json.loads(stdout)["rows"]
    assert [(row["freeze"], row["compiled"], row["amp"], row["channels_last"]) for row in rows] == [
        (4, False, True, True),
        (4, True, True, True),
        (4, False, False, True),
        (4, False, True, False),
    ]
    assert rows[0]["ratio"] == 1
    assert all(row["images_per_s"] > 0 for row in rows)
    for name in ("4 blocks frozen, compiled", "4 blocks frozen, --no-amp", "4 blocks frozen, channels first"):
        assert name in stderr


def test_planes_of_channels_reach_every_convolution_and_change_no_loss(config: TrainConfig) -> None:
    """Of a map of one channel, or of one pixel, torch gives both orders. Sums in bfloat16 depend on the order."""
    config = msgspec.structs.replace(config, run=msgspec.structs.replace(config.run, amp=False))
    losses = []
    for channels_last, order in ((True, torch.channels_last), (False, torch.contiguous_format)):
        bench = StepBench(StepWay(config, channels_last=channels_last))
        inputs: list[torch.Tensor] = []
        for module in bench.state.network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_pre_hook(lambda _, given, inputs=inputs: inputs.append(given[0].detach()))
        bench.step(synthetic_batch(config))
        assert len(inputs) > 50
        assert all(one.is_contiguous(memory_format=order) for one in inputs)
        losses.append(bench.state.loss_sums)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_with_data_the_loader_is_timed_beside_the_step(images: Path) -> None:
    code, stdout, stderr = run(*SMALL, "--data", images, "--workers", 1, "--device", "cpu", "--json")
    assert code == 0, stderr
    result = json.loads(stdout)
    assert [row["source"] for row in result["rows"]] == ["cache", "files"]
    assert (result["freeze"], result["workers"], result["data"]) == ([0], 1, open_dataset(images, "train").name)
    for row in result["rows"]:
        assert row["kept_rounds"] == [row["kept"]]
        assert row["kept"] == pytest.approx(row["together"] / row["step_alone"])
        assert 0 <= row["waiting"] < 1
        assert row["loader_alone"] > 0
    assert stderr.count("of the step's speed kept") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "cuda:99"], 1, "device cuda:99 was asked for"),
        (["--device", "tpu"], 1, "device 'tpu' is not supported"),
        (["--data", "IMAGES", "--batch", "5"], 1, "has 4 images, fewer than a batch; lower --batch 5"),
        (["--data", "absent"], 1, "absent"),
        (["--figure", "absent/out.png"], 1, "there is no folder absent"),
        (["--data", "IMAGES", "--freeze", "0", "--freeze", "4"], 2, "--data goes with one --freeze"),
        (["--data", "IMAGES", "--compile"], 2, "--compile, --no-amp and --channels-first do not go"),
        (["--imgsz", "65"], 2, "65"),
        (["--freeze", "19"], 2, "freeze must be in [0, 18]"),
    ],
)
def test_bad_requests_are_one_line(images: Path, arguments: list[str], code: int, message: str) -> None:
    given = [str(images) if argument == "IMAGES" else argument for argument in arguments]
    found, stdout, stderr = run(*SMALL, *given)
    assert (found, stdout) == (code, "")
    assert message in " ".join(stderr.split())
    if code == 1:
        (line,) = stderr.splitlines()
        assert line.startswith("error: ")


def test_allocator_times_the_same_step(config: TrainConfig) -> None:
    seconds, peak_mb = measured("returned", config, steps=2)
    assert len(seconds) == 2
    assert min(seconds) > 0
    assert peak_mb > 100
