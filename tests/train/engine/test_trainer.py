"""A run learns, stops after a signal, and resumes to the same result."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from torch._dynamo.exc import TorchDynamoException
from torchvision.models import MobileNetV2
from typer.testing import CliRunner

from mmpnet.contract.errors import CheckpointError, DatasetError, OutputError, TrainingError
from mmpnet.system.claims import claimed_folder
from mmpnet.system.signals import InterruptedRunError
from mmpnet.train.artifacts.checkpoint import load_checkpoint, save_checkpoint
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.choices import Negatives
from mmpnet.train.cli.train import app
from mmpnet.train.engine import trainer as loop
from mmpnet.train.engine.optim import update_average
from mmpnet.train.engine.state import TrainingState
from mmpnet.train.engine.train_step import TrainStep
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.start import new_folder, resume_run, start_run
from support.coco_writer import write_coco
from support.interruption import stopped_after
from support.same_run import assert_same_run
from support.train_configs import changed

FinishedRun = Callable[[TrainConfig], Path]


@pytest.mark.parametrize("negatives", ["focal", "random"])
@pytest.mark.parametrize(
    "batches", [1, pytest.param(4, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_interrupted_and_resumed_equals_uninterrupted(
    tiny_train_config: TrainConfig, finished_run: FinishedRun, tmp_path: Path, negatives: Negatives, batches: int
) -> None:
    config = changed(tiny_train_config, negatives=negatives)
    with stopped_after(batches), pytest.raises(InterruptedRunError, match="--resume"):
        start_run(config, tmp_path / "parts")
    resume_run(tmp_path / "parts", device="cpu", workers=0)
    assert_same_run(finished_run(config), tmp_path / "parts")


def test_stopped_during_evaluation_it_evaluates_again(
    tiny_train_config: TrainConfig, finished_run: FinishedRun, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:

        def evaluate_and_stop(*_: object, **options: object) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            list(options["progress"]([1, 2]))  # type: ignore[operator]

        monkeypatch.setattr(loop, "evaluate", evaluate_and_stop)
        with pytest.raises(InterruptedRunError):
            start_run(tiny_train_config, tmp_path / "parts")
    resume_run(tmp_path / "parts", device="cpu", workers=0)
    assert_same_run(finished_run(tiny_train_config), tmp_path / "parts")


DIE_AFTER_SAVES = """
import os, signal, sys
from pathlib import Path
import msgspec
import torch
from mmpnet.train.engine import run_writer as report
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.start import start_run

save, left = report.save_checkpoint, int(sys.argv[3])

def save_then_die(path, checkpoint):
    global left
    save(path, checkpoint)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

report.save_checkpoint = save_then_die
torch.set_num_threads(1)  # as this test's own process, for sums in the same order
start_run(msgspec.json.decode(sys.argv[1], type=TrainConfig), Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("saves", [1, 3, 4])
def test_killed_without_warning_it_resumes_from_its_last_checkpoint(
    tiny_train_config: TrainConfig, finished_run: FinishedRun, tmp_path: Path, saves: int
) -> None:
    """SIGKILL before the first step, between best.pth and results.csv, and after a finished epoch."""
    settings = msgspec.json.encode(tiny_train_config).decode()
    arguments = [sys.executable, "-c", DIE_AFTER_SAVES, settings, str(tmp_path / "parts"), str(saves)]
    result = subprocess.run(arguments, stderr=subprocess.DEVNULL, timeout=120, check=False)
    assert result.returncode == -signal.SIGKILL
    resume_run(tmp_path / "parts")
    assert_same_run(finished_run(tiny_train_config), tmp_path / "parts")


@pytest.mark.slow
def test_resuming_keeps_to_the_result_with_workers_frozen_blocks_and_autosaves(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped recipe's settings, on random weights."""
    torch.save(MobileNetV2(width_mult=0.25).state_dict(), tmp_path / "weights.pth")
    config = changed(tiny_train_config, workers=1, freeze=4, amp=True, weights=str(tmp_path / "weights.pth"))
    monkeypatch.setattr(loop, "AUTOSAVE_S", 0.0)
    start_run(config, tmp_path / "whole")
    with stopped_after(5), pytest.raises(InterruptedRunError):
        start_run(config, tmp_path / "parts")
    resume_run(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("batches", [3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_resuming_keeps_to_the_result_with_mosaics_several_sizes_and_a_cache(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    config = changed(
        tiny_train_config, negatives="quality", mosaic=0.6, mosaic_until=1.0, multi_scale=0.5, cache="on", workers=1
    )
    seen: list[tuple[int, int]] = []
    anchors_of: Callable[..., torch.Tensor] = TrainStep._anchors_of

    def noted(train_step: TrainStep, input_hw: tuple[int, int]) -> torch.Tensor:
        seen.append(input_hw)
        return anchors_of(train_step, input_hw)

    monkeypatch.setattr(TrainStep, "_anchors_of", noted)
    start_run(config, tmp_path / "whole")
    sizes_of_whole, seen[:] = list(seen), []
    assert set(sizes_of_whole) == {(32, 32), (64, 64), (96, 96)}
    with stopped_after(batches), pytest.raises(InterruptedRunError):
        start_run(config, tmp_path / "parts")
    assert sorted(p.name for p in (tmp_path / "parts").glob("*.cache")) == []
    resume_run(tmp_path / "parts")
    assert seen == sizes_of_whole
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert sorted(p.name for p in (tmp_path / "parts").glob("*.cache")) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_ends_the_run_with_its_own_line(
    tiny_train_config: TrainConfig, tmp_path: Path, workers: int
) -> None:
    path = write_coco(tmp_path / "data" / "train.json", count=4, seed=5)
    damaged = tmp_path / "data" / "images" / "train_002.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    config = changed(tiny_train_config, train=(str(path),), val=(), workers=workers)
    with pytest.raises(DatasetError, match=r"train_002\.png: the image is cut short") as caught:
        start_run(config, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_validation_set_that_cannot_be_measured_is_found_before_the_first_step(
    tiny_train_config: TrainConfig, tmp_path: Path
) -> None:
    path = write_coco(tmp_path / "val" / "val.json", count=4, seed=5)
    path.write_text(path.read_text().replace('"person"', '"dog"'))
    with pytest.raises(DatasetError, match="expected at least one in common"):
        start_run(changed(tiny_train_config, val=(str(path),)), tmp_path / "run")
    content = json.loads(write_coco(path, count=4, seed=5).read_text())
    path.write_text(json.dumps({**content, "annotations": []}))
    with pytest.raises(DatasetError, match="except crowds; expected at least one box"):
        start_run(changed(tiny_train_config, val=(str(path),)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_folder_holds_what_is_needed(tiny_train_config: TrainConfig, finished_run: FinishedRun) -> None:
    run = finished_run(tiny_train_config)
    assert sorted(path.name for path in run.iterdir()) == [
        "best.pth",
        "config.json",
        "last.pth",
        "report.html",
        "results.csv",
    ]
    settings = json.loads((run / "config.json").read_text())
    assert msgspec.convert(settings["train"], TrainConfig) == tiny_train_config
    assert load_checkpoint(run / "last.pth").progress is not None
    best = load_checkpoint(run / "best.pth")
    assert best.progress is None
    assert best.provenance.evaluation is not None
    assert best.provenance.evaluation["n_images"] == 6


@pytest.mark.slow
def test_it_learns_to_find_bright_rectangles(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    config = changed(tiny_train_config, epochs=16, eval_every=16, lr=1e-2, backbone_lr=1e-2)
    start_run(config, tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "results.csv").open()))
    assert float(rows[-1]["classification_loss"]) < 0.6 * float(rows[0]["classification_loss"])
    assert float(rows[-1]["box_loss"]) < 0.9 * float(rows[0]["box_loss"])
    assert float(rows[-1]["AP50"]) > 0.1


def test_without_a_validation_set_the_last_is_the_best(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    start_run(changed(tiny_train_config, val=()), tmp_path / "run")
    last, best = (load_checkpoint(tmp_path / "run" / name) for name in ("last.pth", "best.pth"))
    assert all(torch.equal(tensor, best.ema[name]) for name, tensor in last.ema.items())


def test_non_finite_loss_ends_the_run_with_one_line(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    config = changed(tiny_train_config, lr=1e6, backbone_lr=1e6, warmup_steps=0, epochs=20)
    with pytest.raises(TrainingError, match="training stopped"):
        start_run(config, tmp_path / "run")


def test_a_finished_run_cannot_be_resumed(
    tiny_train_config: TrainConfig, finished_run: FinishedRun, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run(tiny_train_config), tmp_path / "run")
    with pytest.raises(TrainingError, match="all 2 epochs are done"):
        resume_run(run, device="cpu", workers=0)
    with pytest.raises(CheckpointError, match="not a run"):
        resume_run(run / "best.pth", device="cpu", workers=0)


@pytest.fixture(scope="module")
def interrupted_run(tiny_train_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped after one step. Read only."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with stopped_after(1), pytest.raises(InterruptedRunError):
        start_run(tiny_train_config, folder)
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": {}},
        {"weights": {"features": 1}},
        {"optimizer": {}},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"optimizer": {"state": 1, "param_groups": 2}},
    ],
)
def test_a_run_whose_tensors_fit_nothing_cannot_be_resumed(
    interrupted_run: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    last = shutil.copytree(interrupted_run, tmp_path / "run") / "last.pth"
    content = torch.load(last, weights_only=True)
    content["progress"].update(changes)
    torch.save(content, last)
    with pytest.raises(CheckpointError, match=r"last\.pth: (checkpoint is damaged|Progress does not fit)"):
        resume_run(tmp_path / "run", device="cpu", workers=0)


def test_going_on_with_other_options_is_refused_and_names_them(
    tiny_train_config: TrainConfig, finished_run: FinishedRun
) -> None:
    run = finished_run(tiny_train_config)
    with pytest.raises(TrainingError) as caught:
        resume_run(run, same_as=changed(tiny_train_config, epochs=7, mosaic_until=0.25, device="cuda", workers=3))
    assert str(caught.value) == (
        f"{run}: was started with mosaic-until 0.5, epochs 2, but --continue comes with mosaic-until 0.25, epochs 7; "
        "give the options of its start, choose another --name, or go on with its own options by --resume"
    )
    # What is chosen at the start of a run does not count: anchors that are fitted, and the towers of the shipped model.
    fitted = changed(tiny_train_config, anchors="auto", weights="default", sizes_px=(9.0,), tower_depth=3)
    with pytest.raises(TrainingError, match=r"with weights none, anchors given, but --continue"):
        resume_run(run, same_as=fitted)
    with pytest.raises(TrainingError, match="all 2 epochs are done"):
        resume_run(run, same_as=changed(tiny_train_config, device="cuda", workers=3, train=("elsewhere",)))


LINE = (
    "--weights none --epochs 2 --batch 4 --imgsz 64 --lr 1e-3 --backbone-lr 1e-3 --weight-decay 0.01 --warmup-steps 2 "
    "--ema-decay 0.9 --negatives focal --sizes 16,40 --ratios 1,2.5 --channels 16 --width-mult 0.25 --mosaic-until 0.5 "
    "--cache off --seed 3 --device cpu --no-amp --workers 0"
)
"""The options of tiny_train_config."""


@pytest.mark.parametrize("option", [["--epochs", "9"], ["--amp"], []])
def test_the_command_that_continues_compares_the_whole_line(
    tiny_train_config: TrainConfig, finished_run: FinishedRun, dataset_folder: Path, option: list[str]
) -> None:
    run = finished_run(tiny_train_config)
    where = ["--data", str(dataset_folder), "--continue", "--name", run.name, "--project", str(run.parent)]
    done = CliRunner().invoke(app, [*where, *LINE.split(), *option], env={"COLUMNS": "400"})
    assert done.exit_code == 1
    expected = f"but --continue comes with {option[0][2:]}" if option else "all 2 epochs are done"
    assert expected in done.stderr


def test_changed_data_cannot_be_resumed(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    write_coco(tmp_path / "data" / "train.json", count=8, seed=5)
    config = changed(tiny_train_config, train=(str(tmp_path / "data"),), val=())
    with stopped_after(1), pytest.raises(InterruptedRunError):
        start_run(config, tmp_path / "run")
    write_coco(tmp_path / "data" / "train.json", count=8, seed=6)
    with pytest.raises(TrainingError, match="has changed"):
        resume_run(tmp_path / "run", device="cpu", workers=0)


def test_a_run_whose_data_were_moved_is_resumed(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_coco(tmp_path / "data" / f"{name}.json", count=8, seed=5)
    config = changed(tiny_train_config, train=(str(tmp_path / "data"),), val=(str(tmp_path / "data"),))
    with stopped_after(1), pytest.raises(InterruptedRunError):
        start_run(config, tmp_path / "run")
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(DatasetError, match="no such file or folder"):
        resume_run(tmp_path / "run", device="cpu", workers=0)
    write_coco(tmp_path / "other" / "train.json", count=8, seed=6)
    with pytest.raises(TrainingError, match="has changed"):
        resume_run(
            tmp_path / "run",
            device="cpu",
            workers=0,
            data=[str(tmp_path / "other")],
            val_data=[str(tmp_path / "moved")],
        )
    resume_run(tmp_path / "run", device="cpu", workers=0, data=[str(tmp_path / "moved")])
    assert (tmp_path / "run" / "report.html").exists()
    last = load_checkpoint(tmp_path / "run" / "last.pth")
    assert last.train.data.train == last.train.data.val == (str(tmp_path / "moved"),)


def test_a_damaged_validation_image_ends_the_run_before_its_first_epoch(
    tiny_train_config: TrainConfig, tmp_path: Path
) -> None:
    for name in ("train", "val"):
        write_coco(tmp_path / "data" / f"{name}.json", count=8, seed=5)
    damaged = tmp_path / "data" / "images" / "val_003.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    config = changed(tiny_train_config, train=(str(tmp_path / "data"),), val=(str(tmp_path / "data"),))
    with pytest.raises(DatasetError, match=r"val_003\.png: the image is cut short"):
        start_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folders_are_numbered_and_never_overwritten(tmp_path: Path) -> None:
    assert new_folder(tmp_path, None).name == "train"
    (tmp_path / "train").mkdir()
    with claimed_folder(tmp_path / "train2"):
        assert new_folder(tmp_path, None).name == "train3", "another run is about to make train2"
    assert new_folder(tmp_path, None).name == "train2"
    with pytest.raises(OutputError, match="--resume"):
        new_folder(tmp_path, "train")


def test_a_step_moves_the_average_less_than_the_weights(tiny_train_config: TrainConfig) -> None:
    from mmpnet.train.engine.state import start_state

    state: TrainingState = start_state(tiny_train_config, tiny_train_config.model_config(("background", "person")))
    start = state.network.predict.weight.detach().clone()
    with torch.no_grad():
        state.network.predict.weight += 1
    update_average(state.average, state.network, step=1000)
    moved = (state.averaged_network.predict.weight - start).mean()
    assert float(moved) == pytest.approx(0.1, rel=1e-4)


def test_compile_fuses_the_training_step_only(
    tiny_train_config: TrainConfig, finished_run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def keep(network: torch.nn.Module, **_: object) -> torch.nn.Module:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", keep)
    start_run(changed(tiny_train_config, epochs=1), tmp_path / "plain")
    assert not compiled
    start_run(changed(tiny_train_config, compile=True), tmp_path / "fused")
    assert len(compiled) == 1
    assert_same_run(finished_run(tiny_train_config), tmp_path / "fused")


def test_a_machine_that_cannot_compile_is_one_line(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TorchDynamoException("no working C++ compiler\nsecond line")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(TrainingError, match="--compile") as caught:
        start_run(changed(tiny_train_config, compile=True), tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_resuming_a_finished_run_makes_the_report_that_is_missing(
    tiny_train_config: TrainConfig, finished_run: FinishedRun, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run(tiny_train_config), tmp_path / "run")
    report = run / "report.html"
    before = len(report.read_text())
    report.unlink()
    resume_run(run)
    assert len(report.read_text()) > before // 2
    with pytest.raises(TrainingError, match="all 2 epochs are done"):
        resume_run(run)


def test_a_run_that_could_not_begin_leaves_no_folder(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 64 vs 0")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(OutputError, match=r"last\.pth: .*could not write all of it; is the disk full"):
            start_run(tiny_train_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    mine = tmp_path / "other" / "mine.txt"
    mine.parent.mkdir()
    mine.touch()
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(OutputError):
            start_run(tiny_train_config, mine.parent)
    assert mine.exists(), "a folder that was there before"


def test_a_project_that_is_no_folder_is_told_before_the_teacher_is_asked(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("mmpnet.train.run.start.teaching", lambda *_: pytest.fail("asked"))
    config = changed(tiny_train_config, teachers=("t.onnx",))
    with pytest.raises(OutputError, match=r"--project .*file: .*file is not a folder"):
        start_run(config, tmp_path / "file" / "run")


def test_images_that_are_learned_from_twice_or_also_measured_are_reported(
    tiny_train_config: TrainConfig, tmp_path: Path
) -> None:
    (data,) = tiny_train_config.data.train
    train = str(Path(data) / "train.json")
    config = changed(tiny_train_config, train=(data, train), val=(train,), epochs=1)
    notices: list[str] = []
    start_run(config, tmp_path / "run", callbacks=RunCallbacks(notice=notices.append))
    assert any("more than once: they count as often" in notice for notice in notices)
    assert any("validation images are also learned from" in notice for notice in notices)


def test_results_that_are_no_table_any_more_are_one_line(
    tiny_train_config: TrainConfig, finished_run: FinishedRun, tmp_path: Path
) -> None:
    shutil.copytree(finished_run(tiny_train_config), tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    progress = load_checkpoint(tmp_path / "run" / "last.pth")
    assert progress.progress is not None
    earlier = dataclasses.replace(progress, progress=msgspec.structs.replace(progress.progress, epoch=1))
    save_checkpoint(tmp_path / "run" / "last.pth", earlier)
    (tmp_path / "run" / "results.csv").write_bytes("epoch\n1\n".encode("utf-16"))
    with pytest.raises(OutputError, match=r"results\.csv: was changed by another program"):
        resume_run(tmp_path / "run")
