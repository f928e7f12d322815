"""Adapt a model to one camera: learn, export, prove. A stopped run goes on in its work folder."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import onnx
import torch

from mmpnet.adapt.camera_images import CameraData, CameraImages, camera_images
from mmpnet.adapt.image_files import general_images, write_images
from mmpnet.adapt.proof import GENERAL_LOSS, prove
from mmpnet.contract.errors import TrainingError
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.records import AdaptationRecord
from mmpnet.contract.text import counted
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.quantization.quantizer import QuantizationOptions
from mmpnet.export.steps import ExportRequest, export_checkpoint
from mmpnet.export.writer import save_model
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.files import atomic_write, file_sha256, is_file
from mmpnet.system.progress import Notice, Progress
from mmpnet.train.artifacts.config import TrainConfig, config_of
from mmpnet.train.choices import default_workers
from mmpnet.train.distillation.ensemble import open_ensemble
from mmpnet.train.engine.callbacks import BatchProgress, TrainingCallbacks
from mmpnet.train.engine.run_writer import LAST
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.start import resume_run, start_run

PLAN, CAMERA, HELD_OUT, REPLAY, GENERAL = "plan.json", "camera.json", "held-out.json", "replay.json", "general.json"
CANDIDATE, TRAINED = "candidate.onnx", "trained"
TRAINING_SHARE = 0.75
"""Part of the minutes for training; the rest is for labels, int8 and the proof."""
MOST_EPOCHS = 200
LOADING = 1.4
"""Time of a training step with its images, relative to that of the network alone."""


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """What to adapt to what.

    data: folders of mmp-collect, or labeled images. labeled: corrected labels of some of them. teachers: detectors that
    label the others. held_out: labeled images of other times to measure; by default the last ones of the others.
    general: labeled images of other places, learned again and measured. model: the file to beat; its input size and
    precision are those of the new one. weights: where training starts. minutes: about how long.
    """

    data: tuple[Path, ...]
    labeled: tuple[Path, ...] = ()
    teachers: tuple[Path, ...] = ()
    held_out: tuple[Path, ...] = ()
    general: tuple[Path, ...] = ()
    model: str = "person-320-int8"
    weights: str = "default"
    minutes: float = 60.0
    general_loss: float = GENERAL_LOSS
    seed: int = 0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a work folder is for, and what was decided when it was made."""

    fingerprint: str
    by_people: bool
    judges: tuple[str, ...]
    epochs: int
    has_general: bool


def adapt(
    options: AdaptOptions, out: Path, work: Path, *, callbacks: RunCallbacks, notice: Notice, progress: Progress
) -> AdaptationRecord:
    """Write `out` if the adapted model is proven better, and return the proof, which is in the file's metadata too.

    Raises: an MmpnetError child for bad data, models or folders; KeyboardInterrupt where it was stopped: the same call
    goes on there.
    """
    old_path = model_path(options.model)
    old = Detector(old_path, provider="cpu").metadata
    plan = _planned(options, old, work, notice, progress)
    if not is_file(work / TRAINED):
        _train(options, old, plan, work, callbacks)
        (work / TRAINED).touch()
    if not is_file(work / CANDIDATE):
        _export(old, work, notice, progress)
    proof = prove(
        old_path,
        work / CANDIDATE,
        work / HELD_OUT,
        work / GENERAL if plan.has_general else None,
        judges=plan.judges,
        general_loss=options.general_loss,
        progress=progress,
    )
    _stamp(work / CANDIDATE, proof, out if proof.better else work / CANDIDATE)
    return proof


def _planned(options: AdaptOptions, old: ModelMetadata, work: Path, notice: Notice, progress: Progress) -> Plan:
    """The plan of the work folder; a new folder gets one, and the images to learn from and to measure.

    Raises: TrainingError if the folder is of other data or options.
    """
    fingerprint = _fingerprint(options)
    if is_file(work / PLAN):
        try:
            plan = msgspec.json.decode((work / PLAN).read_bytes(), type=Plan)
        except (OSError, msgspec.DecodeError) as error:
            raise TrainingError(f"{work / PLAN}: cannot be read ({error}); give another --work") from error
        if plan.fingerprint != fingerprint:
            raise TrainingError(f"{work}: was made for other data or options; give another --work, or remove it")
        notice(f"{work}: going on where it stopped")
        return plan
    teachers = open_ensemble(options.teachers, old.class_names) if options.teachers else None
    old_name = Path(options.model).stem
    camera = CameraData(options.data, options.labeled, options.held_out, teachers, old_name, old.class_names)
    images = camera_images(camera, notice=notice, progress=progress)
    judges = () if images.by_people else (("the teachers",) if teachers is None else teachers.names)
    replayed, measured = general_images(options.general, old.class_names, camera_count=len(images.learned))
    notice(
        f"{counted(len(images.learned), 'image')} of the camera to learn from, {len(images.held_out)} of later times "
        f"held out; {counted(len(replayed), 'general image')} beside them, {len(measured)} measured"
    )
    if judges:
        notice(f"note: nobody drew labels here, so the proof is against {', '.join(judges)}, not against people")
    write_images(work / CAMERA, images.learned, old.class_names, group="camera")
    write_images(work / HELD_OUT, images.held_out, old.class_names, group="camera")
    if replayed:
        write_images(work / REPLAY, replayed, old.class_names, group="general")
        write_images(work / GENERAL, measured, old.class_names, group="general")
    epochs = _affordable_epochs(_config(options, old, work, epochs=1), old, options, images, len(replayed))
    plan = Plan(fingerprint, images.by_people, judges, epochs, bool(measured))
    with atomic_write(work / PLAN) as partial:
        partial.write_bytes(msgspec.json.encode(plan))
    return plan


def _fingerprint(options: AdaptOptions) -> str:
    """The hash of everything that decides what is learned; the time to spend does not."""
    files = [path.resolve() for path in (*options.data, *options.labeled, *options.held_out, *options.general)]
    teachers = [file_sha256(path) for path in options.teachers]
    stated = [*map(str, files), *teachers, options.model, options.weights, str(options.seed)]
    return hashlib.sha256("\n".join(stated).encode("utf-8", "surrogateescape")).hexdigest()


def _config(options: AdaptOptions, old: ModelMetadata, work: Path, *, epochs: int) -> TrainConfig:
    """The recipe for fine-tuning on few images: low rates, half of the draws from the camera."""
    has_replay = is_file(work / REPLAY)
    paths = [work / CAMERA, *([work / REPLAY] if has_replay else [])]
    return config_of(
        {
            "train": tuple(str(path.resolve()) for path in paths),
            "weights": options.weights,
            "input_hw": old.input.size_hw,
            "epochs": epochs,
            "batch": 16,
            "lr": 5e-4,
            "backbone_lr": 1e-4,
            "warmup_steps": 20,
            "ema_decay": 0.99,
            "mosaic": 0.3,
            "group_weights": (("camera", _camera_weight(work)),) if has_replay else (),
            "seed": options.seed,
            "device": "cpu",
            "workers": min(default_workers(), 2),
        }
    )


def _camera_weight(work: Path) -> float:
    """How much more often than a general image one of the camera is drawn, so that each kind is half of the draws."""
    counts = [len(msgspec.json.decode((work / name).read_bytes())["images"]) for name in (REPLAY, CAMERA)]
    return max(counts[0] / counts[1], 1.0)


def _affordable_epochs(
    config: TrainConfig, old: ModelMetadata, options: AdaptOptions, images: CameraImages, n_replayed: int
) -> int:
    """The number of epochs that fit into the minutes, by the time of two steps of the network on this machine."""
    network = config.model_config(old.class_names).build().train()
    batch = torch.zeros(config.loading.batch, 3, *old.input.size_hw)
    spent = []
    for _ in range(2):
        began_s = time.perf_counter()
        network(batch).sum().backward()
        spent.append(time.perf_counter() - began_s)
    image_s = LOADING * min(spent) / config.loading.batch
    n_images = len(images.learned) + n_replayed
    return int(min(max(TRAINING_SHARE * options.minutes * 60 / (image_s * n_images), 1), MOST_EPOCHS))


class _OutOfTimeError(Exception):
    """The minutes for training are spent; last.pth has what was learned."""


def _train(options: AdaptOptions, old: ModelMetadata, plan: Plan, work: Path, callbacks: RunCallbacks) -> None:
    """Start or resume the run; one that takes much longer than planned ends at the last saved state."""
    run, ends_s = work / "run", time.monotonic() + 60 * options.minutes
    shown = callbacks.training

    def batch_done(batch: BatchProgress) -> None:
        shown.batch_done(batch)
        if time.monotonic() > ends_s and is_file(run / LAST) and batch.epoch > 1:
            raise _OutOfTimeError

    timed = TrainingCallbacks(shown.started, batch_done, shown.epoch_done, shown.ended, shown.progress)
    watched = replace(callbacks, training=timed)
    try:
        if is_file(run / LAST):
            resume_run(run, callbacks=watched)
        else:
            start_run(_config(options, old, work, epochs=plan.epochs), run, callbacks=watched)
    except _OutOfTimeError:
        callbacks.notice(f"{options.minutes:g} minutes are over; going on with what was learned")


def _export(old: ModelMetadata, work: Path, notice: Notice, progress: Progress) -> None:
    """Export as the old file is: its size, its thresholds, its precision. int8 is judged by the proof, not here."""
    request = ExportRequest(
        model=work / "run" / LAST,
        target=work / CANDIDATE,
        options=ExportOptions(
            input_hw=old.input.size_hw,
            thresholds=old.thresholds,
            weights_license=old.licences.weights,
            data_license=f"{old.licences.data}; and the images of one camera",
            command="mmp-adapt",
        ),
        precision="int8" if old.precision == "int8" else "float32",
        quantization=QuantizationOptions(always=True),
        verify=(work / CAMERA,),
        calib=(work / CAMERA,) if old.precision == "int8" else (),
    )
    export_checkpoint(request, notice=notice, progress=progress)


def _stamp(candidate: Path, proof: AdaptationRecord, target: Path) -> None:
    """Write the candidate with the proof in its metadata. Raises: OutputError if it cannot be written."""
    metadata = msgspec.structs.replace(Detector(candidate, provider="cpu").metadata, adaptation=proof)
    with atomic_write(target, parents=True) as partial:
        save_model(onnx.load(candidate), metadata, partial)


def shown_lines(proof: AdaptationRecord) -> Sequence[str]:
    """The numbers of the proof, one line for each set of images."""
    named = [("camera, held-out times", proof.camera)]
    named += [] if proof.general is None else [("general images", proof.general)]
    return [
        f"{name}: {counted(one.n_images, 'image')}, {counted(one.n_boxes, 'box')}; AP {one.old.AP:.3f} -> "
        f"{one.new.AP:.3f}, AP50 {one.old.AP50:.3f} -> {one.new.AP50:.3f}"
        for name, one in named
    ]
