"""Adapting to one camera: what is learned, what is held out, and that nothing is replaced without a proof."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mmpnet.adapt import adapt as adapt_module
from mmpnet.adapt import blend as blend_module
from mmpnet.adapt import proof as proof_module
from mmpnet.adapt.adapt import adapt
from mmpnet.adapt.blend import write_blended
from mmpnet.adapt.camera_images import CameraData, CameraImages, camera_images
from mmpnet.adapt.command import app
from mmpnet.adapt.image_files import general_images
from mmpnet.adapt.plan import AdaptOptions
from mmpnet.collect.records import CollectedImage, journal_of
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError, TrainingError
from mmpnet.contract.records import Accuracy, AdaptationRecord, ComparedAccuracy
from mmpnet.media.images import read_image, write_image
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system import files as files_module
from mmpnet.system.claims import claimed_folder
from mmpnet.system.progress import no_notice, no_progress
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.distillation.ensemble import Ensemble
from mmpnet.train.distillation.teacher import OpenedTeacher
from mmpnet.train.run.callbacks import RunCallbacks
from support.coco_writer import write_coco
from support.interruption import environment_of_tests

NAMES = ("background", "person")
MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of mmp-collect with 60 images of a video, one every 5 s, labeled by a larger model. Read only."""
    folder = tmp_path_factory.mktemp("collected")
    write_coco(folder / "labels.json", count=60, seed=5)
    content = json.loads((folder / "labels.json").read_text())
    lines = []
    for image in content["images"]:
        number = image["id"]
        name = f"door-{5000 * number:09d}ms.png"
        (folder / "images" / image["file_name"]).rename(folder / "images" / name)
        image["file_name"] = name
        lines.append(
            CollectedImage(name, "door.mp4", "2026-01-02T03:04:05Z", 5.0 * number, 128, 96, ("interval",), ("larger",))
        )
    for annotation in content["annotations"]:
        annotation["score"] = 0.9
    (folder / "labels.json").write_text(json.dumps(content))
    (folder / "collected.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return folder


def teacher(boxes: list[list[float]], score: float = 0.9) -> Ensemble:
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), score, np.float32),
        np.ones(len(boxes), np.int64),
    )
    opened = OpenedTeacher("large.onnx", (lambda _: found,), frozenset({1}), False)
    return Ensemble((opened,), False, "0" * 64)


def read(folder: Path, **changes: Any) -> CameraImages:
    camera = CameraData(**{
        "data": (folder,), "labeled": (), "held_out": (), "teachers": None, "old_model": "own",
        "old_network": "0 96x128", "class_names": NAMES, **changes,
    })  # fmt: skip
    return camera_images(camera, notice=no_notice, progress=no_progress)


def seconds(images: CameraImages, which: str) -> list[int]:
    return [int(image.path.stem[-11:-2]) // 1000 for image in getattr(images, which)]


def test_the_last_times_are_held_out_and_those_just_before_them_are_not_learned(collected: Path) -> None:
    images = read(collected)
    assert not images.by_people
    assert seconds(images, "held_out") == list(range(215, 301, 5))
    assert seconds(images, "learned") == list(range(5, 206, 5))


@pytest.mark.parametrize("before", ["0a1b2c3d-", "0a1b2c3d__"])
def test_corrected_images_replace_collected_ones_and_are_the_judges(
    collected: Path, tmp_path: Path, before: str
) -> None:
    """All but the first 12 images were corrected in Label Studio, which puts a prefix before their names: another one
    for uploaded images than for those that it serves from a folder."""
    content = json.loads((collected / "labels.json").read_text())
    content["images"] = content["images"][12:]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
    (tmp_path / "images").mkdir()
    for image in content["images"]:
        name = f"{before}{image['file_name']}"
        shutil.copy(collected / "images" / image["file_name"], tmp_path / "images" / name)
        image["file_name"] = name
    (tmp_path / "result.json").write_text(json.dumps(content))
    images = read(collected, labeled=(tmp_path,))
    assert images.by_people
    assert all((image.scores == 1).all() for image in images.held_out), "people are sure"
    first = min(seconds(images, "held_out"))
    assert all(image.path.name.startswith(before) for image in images.held_out)
    learned = seconds(images, "learned")
    assert len(learned) == len(set(learned))
    assert max(learned) <= first - 10
    assert set(learned).isdisjoint(seconds(images, "held_out"))


@pytest.mark.parametrize("before", ["", "0a1b2c3d-", "0a1b2c3d__"])
@pytest.mark.parametrize("journal", [True, False])
@pytest.mark.parametrize("renamed", [True, False])
def test_held_out_images_are_not_learned_under_other_names(
    collected: Path, tmp_path: Path, before: str, journal: bool, renamed: bool
) -> None:
    """Their bytes are the same, unless a tool wrote them anew; then their names tell."""
    data = tmp_path / "data"
    shutil.copytree(collected, data)
    if not journal:
        (data / "collected.jsonl").unlink()
    content = json.loads((data / "labels.json").read_text())
    (tmp_path / "held" / "images").mkdir(parents=True)
    content["images"] = content["images"][20:50]
    for number, image in enumerate(content["images"]):
        pixels = read_image(data / "images" / image["file_name"])
        name = f"other-{number}.png" if renamed else f"{before}{image['file_name']}"
        if renamed:
            shutil.copy(data / "images" / image["file_name"], tmp_path / "held" / "images" / name)
        else:
            pixels[0, 0] ^= 1
            write_image(tmp_path / "held" / "images" / name, pixels)
        image["file_name"] = name
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
    (tmp_path / "held" / "labels.json").write_text(json.dumps(content))
    images = read(data, held_out=(tmp_path / "held",))
    assert len(images.held_out) == 30
    assert seconds(images, "learned") == [*range(5, 101, 5), *range(255, 301, 5)]


def test_teachers_label_what_is_learned_and_their_unsure_boxes_are_no_truth(collected: Path) -> None:
    with pytest.raises(TrainingError, match="found nobody in 60 images"):
        read(collected, teachers=teacher([]))
    images = read(collected, teachers=teacher([[5, 5, 20, 40]]))
    assert {image.boxes_xyxy.tolist()[0][0] for image in images.held_out} == {5.0}
    assert {float(image.scores[0]) for image in images.held_out} == {1.0}
    assert {round(float(image.scores[0]), 3) for image in images.learned} == {0.9}


def test_labels_that_contradict_the_teachers_are_an_error(collected: Path) -> None:
    with pytest.raises(TrainingError, match=r"the teachers find 0 of \d+ boxes that people drew"):
        read(collected, labeled=(collected / "labels.json",), teachers=teacher([[0, 0, 4, 4]]))


def test_the_models_own_labels_teach_nothing(collected: Path) -> None:
    with pytest.raises(TrainingError, match="the model itself drew the labels of all images"):
        read(collected, old_model="larger")


def test_a_model_is_itself_in_every_precision_and_under_every_name(collected: Path, tmp_path: Path) -> None:
    """What a journal and an opened teacher hold of a float file is what the int8 file of the same weights has."""
    ours, int8 = (Detector(name, provider="cpu").metadata for name in ("person-320", "person-320-int8"))
    larger = msgspec.structs.replace(ours, input=msgspec.structs.replace(ours.input, size_hw=(416, 416)))
    assert ours.network == int8.network != larger.network
    shutil.copytree(collected, tmp_path / "copy")
    lines = [msgspec.json.decode(line, type=CollectedImage) for line in journal_of(collected).read_bytes().splitlines()]
    for networks, is_own in (((ours.network,), True), ((larger.network,), False), ((ours.network, ""), False)):
        content = [msgspec.structs.replace(line, networks=networks) for line in lines]
        journal_of(tmp_path / "copy").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in content))
        if is_own:
            with pytest.raises(TrainingError, match="the model itself drew the labels of all images"):
                read(tmp_path / "copy", old_network=int8.network)
        else:
            assert read(tmp_path / "copy", old_network=int8.network, old_model="larger").learned
    options = AdaptOptions(data=(collected,), teachers=(model_path("person-320"),))
    with pytest.raises(
        TrainingError, match=r"teacher person-320\.onnx: has the weights and the input size of the model"
    ):
        adapt(
            options,
            tmp_path / "out.onnx",
            tmp_path / "work",
            callbacks=RunCallbacks(),
            notice=no_notice,
            progress=no_progress,
        )


def test_two_folders_with_images_of_one_name_are_refused(collected: Path, tmp_path: Path) -> None:
    shutil.copytree(collected, tmp_path / "again")
    with pytest.raises(TrainingError, match=r"again: has an image door-000005000ms\.png, and so has another folder"):
        read(collected, data=(collected, tmp_path / "again"))


def test_few_images_prove_nothing(tmp_path: Path) -> None:
    write_coco(tmp_path / "labels.json", count=3, seed=5)
    with pytest.raises(TrainingError, match=r"3 images with labels are too few: .* at least 10 are needed"):
        read(tmp_path / "labels.json")


def test_general_images_are_spread_and_never_both_learned_and_measured(dataset_folder: Path) -> None:
    for place, counts in ((dataset_folder, (16, 2, 4)), (dataset_folder / "train.json", (12, 2, 2))):
        images = general_images([place], NAMES, camera_count=1)
        parts = (images.learned, images.choosing, images.measured)
        assert tuple(map(len, parts)) == counts
        paths = [one.path for part in parts for one in part]
        assert len(paths) == len(set(paths))


def compared(old: float, new: float, interval: tuple[float, float] | None) -> ComparedAccuracy:
    return ComparedAccuracy("held-out", "0" * 64, 20, 30, Accuracy(old, 0.5), Accuracy(new, 0.6), interval)


@pytest.mark.parametrize(
    ("camera", "general", "better", "verdict"),
    [
        (compared(0.3, 0.4, (0.02, 0.2)), None, True, "general images were not measured"),
        (compared(0.3, 0.4, (-0.02, 0.2)), None, False, "not proven better"),
        (compared(0.3, 0.4, (0.02, 0.2)), compared(0.5, 0.49, None), True, "on general images AP -0.010"),
        (compared(0.3, 0.4, (0.02, 0.2)), compared(0.5, 0.47, None), False, "but worse on general images: AP -0.030"),
    ],
)
def test_the_verdict(camera: ComparedAccuracy, general: ComparedAccuracy | None, better: bool, verdict: str) -> None:
    found = proof_module._verdict(camera, general, ["a.onnx"], 0.02)
    assert found[0] == better
    assert verdict in found[1]
    assert "against labels of a.onnx, not of people" in found[1]
    assert "against labels of people" in proof_module._verdict(camera, general, [], 0.02)[1]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> list[str]:
    """Replaces training by a checkpoint; lists the steps that were taken."""
    steps: list[str] = []

    def train(_options: Any, _old: Any, _plan: Any, work: Path, _callbacks: Any) -> None:
        steps.append("train")
        (work / "run").mkdir()
        shutil.copy(tiny_checkpoint, work / "run" / "last.pth")

    monkeypatch.setattr(adapt_module, "_train", train)
    return steps


def adapted(options: AdaptOptions, out: Path, work: Path) -> AdaptationRecord:
    return adapt(options, out, work, callbacks=RunCallbacks(), notice=no_notice, progress=no_progress)


def test_only_a_proven_model_replaces_another_and_its_file_holds_the_proof(
    collected: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    out, work = tmp_path / "door.onnx", tmp_path / "work"
    out.write_bytes(b"the old one")
    options = AdaptOptions(data=(collected,), model=str(tiny_onnx), weights="none", minutes=0.1)
    proof = adapted(options, out, work)
    assert not proof.better, "the candidate is the old model"
    assert proof.camera.old == proof.camera.new
    assert proof.judges == ("the teachers",)
    assert out.read_bytes() == b"the old one"
    assert Detector(work / "candidate.onnx", provider="cpu").metadata.adaptation == proof
    monkeypatch.setattr(proof_module, "_compared", lambda *_: compared(0.3, 0.4, (0.02, 0.2)))
    proof = adapted(options, out, work)
    assert trained == ["train"], "the second call goes on after the training"
    assert proof.better
    assert Detector(out, provider="cpu").metadata.adaptation == proof
    other = AdaptOptions(data=(collected,), model=str(tiny_onnx), weights="none", seed=1)
    with pytest.raises(TrainingError, match="was made for other data, labels or options; give another --work"):
        adapted(other, out, work)


def test_a_second_run_with_the_same_output_or_work_folder_is_refused(
    collected: Path, tiny_onnx: Path, tmp_path: Path, trained: list[str]
) -> None:
    out, work = tmp_path / "door.onnx", tmp_path / "work"
    options = AdaptOptions(data=(collected,), model=str(tiny_onnx), weights="none", minutes=0.1)
    for held in (out, work, tmp_path / "new" / "deep"):
        with claimed_folder(held), pytest.raises(OutputError, match=f"{held.name}: another run writes to it"):
            adapted(options, out, work if held == out else held)
    assert list(tmp_path.iterdir()) == []
    assert trained == []


def test_the_command_says_the_verdict_in_words_and_in_its_exit_code(
    collected: Path, tiny_onnx: Path, tmp_path: Path, trained: list[str]
) -> None:
    out = tmp_path / "door.onnx"
    arguments = ["--data", collected, "-o", out, "--model", tiny_onnx, "--weights", "none", "--minutes", 0.1]
    result = CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 3, result.output
    assert "camera, held-out times: 18 images" in result.stdout
    assert "not proven better on held-out times of this camera" in result.stdout
    assert "not of people" in result.stdout
    assert f"{out}: nothing was replaced; the candidate is {tmp_path / 'door.work' / 'candidate.onnx'}" in result.stderr
    assert trained == ["train"]
    assert not out.exists()


def test_a_work_folder_knows_the_contents_of_its_data(
    collected: Path, tiny_onnx: Path, tmp_path: Path, trained: list[str]
) -> None:
    """The paths stay the same: a label, the journal or an image has changed."""
    data = tmp_path / "camera"
    shutil.copytree(collected, data)
    options = AdaptOptions(data=(data,), model=str(tiny_onnx), weights="none", minutes=0.1)
    out, work = tmp_path / "door.onnx", tmp_path / "work"
    adapted(options, out, work)
    image = next((data / "images").glob("*000005000ms.png"))
    for path in (data / "labels.json", data / "collected.jsonl", image):
        before = path.read_bytes()
        path.write_bytes(before.replace(b"0.9", b"0.8") if path.suffix == ".json" else before + b"\n")
        match = "images have changed" if path == image else "was made for other data, labels or options"
        with pytest.raises(TrainingError, match=match):
            adapted(options, out, work)
        path.write_bytes(before)
    adapted(options, out, work)
    assert trained == ["train"]


def test_the_largest_share_of_the_change_that_forgets_little_is_kept(
    tiny_checkpoint: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = load_checkpoint(tiny_checkpoint).ema
    monkeypatch.setattr(blend_module, "weights_before", lambda _: {k: torch.zeros_like(v) for k, v in trained.items()})
    name = next(key for key in trained if key.endswith("weight"))
    loss_by_share = {0.0: 0.0, 0.25: 0.001, 0.5: 0.009, 0.75: 0.02, 1.0: 0.05}

    def ap(_checkpoint: Any, weights: dict[str, torch.Tensor], *_: Any) -> float:
        share = float((weights[name] / trained[name]).mean())
        return 0.5 - loss_by_share[round(share, 2)]

    monkeypatch.setattr(blend_module, "_ap", ap)
    lines: list[str] = []
    target = tmp_path / "blended.pth"
    for most_loss, kept in ((0.1, 1.0), (0.01, 0.5), (0.0, 0.0)):
        share = write_blended(
            tiny_checkpoint, target, dataset_folder / "val.json", most_loss=most_loss, notice=lines.append,
            progress=no_progress,
        )  # fmt: skip
        assert share == kept
        torch.testing.assert_close(load_checkpoint(target).ema[name], kept * trained[name])
    assert lines[1] == "50% of the change is kept: AP -0.009 on 6 general images"


STOPPED = """
import signal, sys
from contextlib import nullcontext
import torch
from mmpnet.adapt import adapt
from mmpnet.adapt.command import app
from support.interruption import stopped_after
torch.set_num_threads(1)
adapt._affordable_epochs = lambda *_: 3
adapt.default_workers = lambda: 0
with stopped_after(int(sys.argv[1]), signal.Signals(int(sys.argv[2]))):
    app(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def undisturbed(collected: Path, tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a whole run of three epochs with two steps each. Read only."""
    work = tmp_path_factory.mktemp("undisturbed") / "door.work"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt_module, "_affordable_epochs", lambda *_: 3)
        patch.setattr(adapt_module, "default_workers", lambda: 0)
        adapted(AdaptOptions((collected,), model=str(tiny_onnx), weights="none"), work.with_suffix(".onnx"), work)
    return work


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_of_training_the_same_command_goes_on_to_the_same_model(
    collected: Path, tiny_onnx: Path, tmp_path: Path, undisturbed: Path, number: signal.Signals
) -> None:
    """Stopped in the third epoch: Ctrl-C keeps the step, a kill goes back to the end of the second epoch."""
    out, work = tmp_path / "door.onnx", tmp_path / "door.work"
    arguments = ["--data", collected, "-o", out, "--model", tiny_onnx, "--weights", "none"]

    def run(steps: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", STOPPED, str(steps), str(int(number)), *map(str, arguments)],
            env=environment_of_tests(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    stopped = run(5)
    assert stopped.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), stopped.stderr
    if number == signal.SIGINT:
        assert "the same command resumes it" in " ".join(stopped.stderr.split())
    progress = load_checkpoint(work / "run" / "last.pth").progress
    assert progress is not None
    assert (progress.epoch, progress.batch) == ((2, 1) if number == signal.SIGINT else (2, 0))
    assert not (work / "candidate.onnx").exists()
    finished = run(1000)
    assert finished.returncode == 3, finished.stderr
    assert_same_tensors(undisturbed, work)
    proofs = [Detector(folder / "candidate.onnx", provider="cpu").metadata.adaptation for folder in (undisturbed, work)]
    assert proofs[0] == proofs[1]


@pytest.mark.slow
def test_killed_after_the_last_epoch_it_trains_no_more(
    collected: Path, tiny_onnx: Path, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    shutil.copytree(undisturbed, work)
    (work / "blended.pth").unlink()
    (work / "candidate.onnx").unlink()
    monkeypatch.setattr(adapt_module, "start_run", None)
    monkeypatch.setattr(adapt_module, "resume_run", None)
    adapted(AdaptOptions((collected,), model=str(tiny_onnx), weights="none"), tmp_path / "door.onnx", work)
    assert (work / "candidate.onnx").exists()


def assert_same_tensors(one: Path, other: Path) -> None:
    a, b = (load_checkpoint(folder / "run" / "last.pth").ema for folder in (one, other))
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


class FullDisk:
    """While it lasts, files of one name are written to a device that is always full; `free` of them are spared."""

    def __init__(self, name: str, *, free: int = 0) -> None:
        self._name, self._free, self._make = name, free, files_module.temporary_file

    def __call__(self, path: Path, *, marked: bool = False) -> Path:
        partial = self._make(path, marked=marked)
        within = path.is_symlink()  # the exporter writes its partial file by way of another one
        self._free -= path.name == self._name
        if within or (path.name == self._name and self._free < 0):
            partial.unlink()
            partial.symlink_to("/dev/full")
        return partial


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("camera.json", 0),
        ("plan.json", 0),
        ("last.pth", 0),
        ("last.pth", 1),
        ("blended.pth", 0),
        ("candidate.onnx", 0),
        ("candidate.onnx", 1),
    ],
)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on_afterwards(
    collected: Path, tiny_onnx: Path, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    free: int,
) -> None:  # fmt: skip
    """In each step of an adaptation; the last one writes the proof into the candidate."""
    monkeypatch.setattr(adapt_module, "_affordable_epochs", lambda *_: 3)
    monkeypatch.setattr(adapt_module, "default_workers", lambda: 0)
    out, work = tmp_path / "door.onnx", tmp_path / "door.work"
    arguments = [str(one) for one in ("--data", collected, "-o", out, "--model", tiny_onnx, "--weights", "none")]
    with monkeypatch.context() as patch:
        patch.setattr(files_module, "temporary_file", FullDisk(name, free=free))
        stopped = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
    assert stopped.exit_code == 1, stopped.output
    (line,) = [one for one in stopped.stderr.splitlines() if one.startswith("error: ")]
    assert f"{name}: cannot be written" in line
    assert line.endswith("free space, or choose another place")
    assert not isinstance(stopped.exception, OSError)
    assert stopped.stdout == ""
    assert not out.exists()
    assert [path for path in tmp_path.rglob("*") if path.is_symlink() or "mmpnet-" in path.name] == []
    assert (work / name).exists() == (name == "candidate.onnx" and free == 1)
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
    assert done.exit_code == 3, done.output
    assert ("going on where it stopped" in done.stderr) == (name not in ("camera.json", "plan.json"))
    assert_same_tensors(undisturbed, work)
    proofs = [Detector(folder / "candidate.onnx", provider="cpu").metadata.adaptation for folder in (undisturbed, work)]
    assert proofs[0] == proofs[1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
def test_a_full_disk_leaves_the_model_that_was_to_be_replaced(
    collected: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    out, work = tmp_path / "door.onnx", tmp_path / "work"
    out.write_bytes(b"the old one")
    options = AdaptOptions(data=(collected,), model=str(tiny_onnx), weights="none", minutes=0.1)
    monkeypatch.setattr(proof_module, "_compared", lambda *_: compared(0.3, 0.4, (0.02, 0.2)))
    with monkeypatch.context() as patch:
        patch.setattr(files_module, "temporary_file", FullDisk("door.onnx"))
        with pytest.raises(OutputError, match=r"door\.onnx: cannot be written \(No space left on device\); free space"):
            adapted(options, out, work)
    assert out.read_bytes() == b"the old one"
    assert adapted(options, out, work).better
    assert Detector(out, provider="cpu").metadata.adaptation is not None
    assert trained == ["train"]


@pytest.mark.slow
def test_a_model_is_trained_exported_and_judged(collected: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    options = AdaptOptions(data=(collected,), model=str(tiny_onnx), weights="none", minutes=0.02)
    proof = adapted(options, tmp_path / "door.onnx", tmp_path / "work")
    metadata = Detector(tmp_path / "work" / "candidate.onnx", provider="cpu").metadata
    assert metadata.input.size_hw == (64, 64)
    assert proof.better == (tmp_path / "door.onnx").exists()
