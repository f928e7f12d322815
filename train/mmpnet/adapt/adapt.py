"""Adapt a model to one camera: learn, export, prove. A stopped run is resumed from its work folder."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import onnx
import torch

from mmpnet.adapt.blend import write_blended
from mmpnet.adapt.camera_images import CameraData, CameraImages, camera_images
from mmpnet.adapt.image_files import GeneralImages, general_images, write_images
from mmpnet.adapt.plan import AdaptOptions, Plan, fingerprint_of, images_sha256, read_plan, write_plan
from mmpnet.adapt.proof import prove
from mmpnet.contract.errors import TrainingError
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.records import AdaptationRecord
from mmpnet.contract.text import counted
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.types import LabeledImage
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.quantization.quantizer import QuantizationOptions
from mmpnet.export.steps import ExportRequest, export_checkpoint
from mmpnet.export.writer import save_model
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.claims import Claim, claimed_folder
from mmpnet.system.files import atomic_write, is_file
from mmpnet.system.progress import Notice, Progress
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import TrainConfig, config_of
from mmpnet.train.choices import FINE_TUNING, default_workers
from mmpnet.train.distillation.ensemble import Ensemble, open_ensemble
from mmpnet.train.engine.callbacks import BatchProgress, TrainingCallbacks
from mmpnet.train.engine.device import limit_threads
from mmpnet.train.engine.run_writer import LAST
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.start import resume_run, start_run

CAMERA, HELD_OUT = "camera.json", "held-out.json"
REPLAY, CHOOSING, GENERAL = "replay.json", "choosing.json", "general.json"
CANDIDATE, BLENDED = "candidate.onnx", "blended.pth"
TRAINING_SHARE = 0.75
"""Part of the minutes for training; the rest is for labels, int8 and the proof."""
MOST_EPOCHS = 200
LOADING = 1.4
"""Time of a training step with its images, relative to that of the network alone."""


def adapt(
    options: AdaptOptions, out: Path, work: Path, *, callbacks: RunCallbacks, notice: Notice, progress: Progress
) -> AdaptationRecord:
    """Write `out` if the adapted model is proven better, and return the proof, which is in the file's metadata too.

    Raises: an MmpnetError child for bad data, models or folders, or another run that writes `out` or to `work`;
    KeyboardInterrupt if it is stopped: the same call resumes it.
    """
    with Claim(out), claimed_folder(work):
        return _adapted(options, out, work, callbacks, notice, progress)


def _adapted(
    options: AdaptOptions, out: Path, work: Path, callbacks: RunCallbacks, notice: Notice, progress: Progress
) -> AdaptationRecord:
    limit_threads()  # before the time of a step is measured, by which the number of epochs is chosen
    old_path = model_path(options.model)
    old = Detector(old_path, provider="cpu").metadata
    plan = _planned(options, old, work, notice, progress)
    if not is_file(work / BLENDED):
        _train(options, old, plan, work, callbacks)
        _blend(options, plan, work, notice, progress)
    if not is_file(work / CANDIDATE):
        _export(old, plan, work, notice, progress)
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

    Raises: TrainingError if the folder is of other data or options, or its images have changed.
    """
    fingerprint = fingerprint_of(options)
    plan = read_plan(work, fingerprint)
    if plan is not None:
        if images_sha256(_images_of(work)) != plan.images:
            raise TrainingError(f"{work}: images have changed since it was made; restore them, or give another --work")
        notice(f"{work}: going on where it stopped")
        return plan
    teachers = _opened_teachers(options.teachers, old)
    camera = CameraData(
        options.data,
        options.labeled,
        options.held_out,
        teachers,
        Path(options.model).stem,
        old.network,
        old.class_names,
    )
    images = camera_images(camera, notice=notice, progress=progress)
    judges = () if images.by_people else (("the teachers",) if teachers is None else teachers.names)
    general = general_images(options.general, old.class_names, camera_count=len(images.learned))
    notice(
        f"{counted(len(images.learned), 'image')} of the camera to learn from, {len(images.held_out)} of later times "
        f"held out; {counted(len(general.learned), 'general image')} beside them, {len(general.measured)} measured"
    )
    if judges:
        notice(f"note: nobody drew labels here, so the proof is against {', '.join(judges)}, not against people")
    _write_all(work, images, general, old.class_names)
    epochs = _affordable_epochs(_config(options, old, work, epochs=1), old, options, images, len(general.learned))
    chosen = images_sha256(_images_of(work))
    plan = Plan(fingerprint, chosen, images.by_people, judges, epochs, bool(general.measured))
    write_plan(work, plan)
    return plan


def _write_all(work: Path, images: CameraImages, general: GeneralImages, class_names: Sequence[str]) -> None:
    write_images(work / CAMERA, images.learned, class_names, group="camera")
    write_images(work / HELD_OUT, images.held_out, class_names, group="camera")
    for name, chosen in ((REPLAY, general.learned), (CHOOSING, general.choosing), (GENERAL, general.measured)):
        if chosen:
            write_images(work / name, chosen, class_names, group="general")


def _opened_teachers(paths: tuple[Path, ...], old: ModelMetadata) -> Ensemble | None:
    """Raises: TrainingError for a file that cannot teach, such as the model to beat itself."""
    if not paths:
        return None
    teachers = open_ensemble(paths, old.class_names)
    for name, network in zip(teachers.names, teachers.networks, strict=True):
        if network == old.network:
            raise TrainingError(
                f"teacher {name}: has the weights and the input size of the model to beat, so it teaches nothing; give "
                "larger detectors"
            )
    return teachers


def _images_of(work: Path) -> list[LabeledImage]:
    """All images that the work folder names."""
    present = [work / name for name in (CAMERA, HELD_OUT, REPLAY, CHOOSING, GENERAL) if is_file(work / name)]
    return [image for path in present for image in load_dataset([path], "train", undivided=True).images]


def _config(options: AdaptOptions, old: ModelMetadata, work: Path, *, epochs: int) -> TrainConfig:
    """The recipe for fine-tuning on few images: low rates, half of the draws from the camera."""
    has_replay = is_file(work / REPLAY)
    paths = [work / CAMERA, *([work / REPLAY] if has_replay else [])]
    return config_of(
        {
            "train": tuple(str(path.resolve()) for path in paths),
            "weights": options.weights,
            # Statistics of few batches of one camera would not hold for other places.
            "freeze_norms": options.weights != "none",
            "input_hw": old.input.size_hw,
            **FINE_TUNING,
            "epochs": epochs,
            "batch": 16,
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
        if not is_file(run / LAST):
            start_run(_config(options, old, work, epochs=plan.epochs), run, callbacks=watched)
        elif not _is_done(run / LAST):
            resume_run(run, callbacks=watched)
    except _OutOfTimeError:
        callbacks.notice(f"{options.minutes:g} minutes are over; going on with what was learned")


def _is_done(last: Path) -> bool:
    """Whether a run has done all its epochs: it may have been killed after the last one."""
    checkpoint = load_checkpoint(last)
    return checkpoint.progress is not None and checkpoint.progress.epoch >= checkpoint.train.schedule.epochs


def _blend(options: AdaptOptions, plan: Plan, work: Path, notice: Notice, progress: Progress) -> None:
    """Keep as much of the change as loses at most half of what is accepted on general images, if there are any."""
    last = work / "run" / LAST
    if plan.has_general:
        most_loss = options.general_loss / 2
        write_blended(last, work / BLENDED, work / CHOOSING, most_loss=most_loss, notice=notice, progress=progress)
        return
    with atomic_write(work / BLENDED) as partial:
        shutil.copyfile(last, partial)


def _export(old: ModelMetadata, plan: Plan, work: Path, notice: Notice, progress: Progress) -> None:
    """Export as the old file is: its size, its thresholds, its precision. int8 is judged by the proof, not here."""
    # The ranges of int8 must hold for other places too.
    calibration = (work / CAMERA, *([work / REPLAY] if plan.has_general else []))
    request = ExportRequest(
        model=work / BLENDED,
        target=work / CANDIDATE,
        options=ExportOptions(
            input_hw=old.input.size_hw,
            conf=old.default_conf,
            iou=old.default_iou,
            max_det=old.default_max_det,
            weights_license=old.licences.weights,
            data_license=f"{old.licences.data}; and the images of one camera",
            command="mmp-adapt",
        ),
        precision="int8" if old.precision == "int8" else "float32",
        quantization=QuantizationOptions(always=True),
        verify=(work / CAMERA,),
        calib=calibration if old.precision == "int8" else (),
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
