"""Other people's float32 detectors in int8, so that int8 stands beside int8.

ONNX Runtime's static quantisation as mmp-export has it: QDQ, uint8 activations, int8 weights per channel, ranges from
pictures prepared by the peer's own decoder, kernels that no CPU computes wrongly, biases that make up for rounding.
What comes after the last convolutions stays in float: where boxes in pixels and scores meet in one tensor, one scale
for both leaves nothing of the scores. AP on labelled pictures that calibrated nothing decides between calibrators,
between kernels of 7 bits and kernels rescaled by row, and how many tensors stay in float: those whose int8 alone
changes the scores most. Needs mmpnet[train].
"""

import dataclasses
import hashlib
import itertools
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
from peer_decoders import CLASS_NAMES, file_sha256, open_contestant
from peer_quantizer import CALIBRATORS, PeerQuantizer

from mmpnet.console.command import people
from mmpnet.contract.errors import ExportError, MmpnetError
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS, evaluate
from mmpnet.export.graph import NETWORK_SCOPE
from mmpnet.export.quantization.search import FLOAT_LAYERS_TRIED, LEAST_AP_RATIO
from mmpnet.system.files import is_file, is_folder, replacing

RECIPE = 1
"""To be raised with every change of what is done here or of how decoders prepare pictures: files are then made anew."""
CALIBRATION_PICTURES = 128
JUDGING_PICTURES = 200
SEED = 0
KERNELS = ("8 bits, rows rescaled", "7 bits")
WORTHLESS_AP = 0.002


class Origin(msgspec.Struct, frozen=True):
    """What an int8 file was made from; `pictures` is of their contents and labels."""

    source_sha256: str
    pictures_sha256: str
    onnxruntime: str
    recipe: int = RECIPE


class Trial(msgspec.Struct, frozen=True, rename={"ap": "AP"}):
    """One int8 version, and its AP on the judging pictures."""

    calibrator: str
    kernels: str
    float_tensors: tuple[str, ...]
    ap: float


class Quantization(msgspec.Struct, frozen=True, rename={"float32_ap": "float32_AP"}):
    """What was done: the chosen trial of all, and which nodes stayed in float."""

    chosen: Trial
    float32_ap: float
    float_layers: tuple[str, ...]
    float_after_convolutions: dict[str, int]
    tried: tuple[Trial, ...]
    dataset: str
    n_images: int
    n_judging_images: int
    seed: int = SEED
    activations: str = "uint8"
    weights: str = "int8 per channel, biases corrected"


class Record(msgspec.Struct, frozen=True):
    """What lies beside an int8 file."""

    origin: Origin
    file_sha256: str
    quantization: Quantization


@dataclasses.dataclass(frozen=True, slots=True)
class Pictures:
    """Those that fix the ranges, and others that judge; `sha256` is of both."""

    calibration: Dataset
    judging: Dataset
    sha256: str


def choose_pictures(dataset: Dataset) -> Pictures:
    """Seeded, none for both ends; half and half where there are few.

    Raises: ExportError if there are not two.
    """
    order = np.random.default_rng(SEED).permutation(len(dataset.pictures))
    count = min(CALIBRATION_PICTURES, len(order) // 2)
    if count == 0:
        raise ExportError(f"{dataset.name}: has {len(order)} pictures; give --calib labelled pictures")
    calibration, judging = (
        dataclasses.replace(dataset, pictures=tuple(dataset.pictures[index] for index in sorted(part)))
        for part in (order[:count], order[count : count + JUDGING_PICTURES])
    )
    digest = hashlib.sha256(dataset.sha256.encode())
    for picture in (*calibration.pictures, *judging.pictures):
        digest.update(hashlib.sha256(picture.read().tobytes()).digest())
    return Pictures(calibration, judging, digest.hexdigest())


def int8_peer(source: Path, pictures: Pictures, folder: Path) -> tuple[Path, Quantization]:
    """The int8 version of a peer's float32 file, in `folder`: found there, or made.

    Raises: ExportError if the folder is missing or ONNX Runtime cannot quantise the file; DatasetError as `evaluate`.
    """
    if not is_folder(folder):
        raise ExportError(f"{folder}: no such folder; make it first")
    path = folder / f"{source.stem}-int8.onnx"
    origin = Origin(file_sha256(source), pictures.sha256, onnxruntime.__version__)
    kept = _kept(path, origin)
    if kept is not None:
        people().print(f"{path}: made from the same file and pictures, taken as it is")
        return path, kept.quantization
    people().print(f"{path.stem}: quantising {source.name}")
    with tempfile.TemporaryDirectory() as work:
        try:
            model, quantization = _search(PeerQuantizer(source, pictures.calibration, Path(work)), pictures.judging)
        except MmpnetError:
            raise
        except Exception as error:
            raise ExportError(f"{source}: cannot be quantised ({' '.join(str(error).split())[:200]})") from error
    with replacing(path) as partial:
        onnx.save(model, partial)
    with replacing(path.with_suffix(".json")) as partial:
        record = Record(origin, file_sha256(path), quantization)
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    return path, quantization


def _kept(path: Path, origin: Origin) -> Record | None:
    """The record of a file that is there and of this origin."""
    try:
        record = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None
    unchanged = record.origin == origin and is_file(path) and file_sha256(path) == record.file_sha256
    return record if unchanged else None


def _search(quantizer: PeerQuantizer, judging: Dataset) -> tuple[onnx.ModelProto, Quantization]:
    """The first version that loses next to nothing, or the most accurate one."""
    reference = _ap(quantizer.source, judging)
    tried: list[tuple[Trial, onnx.ModelProto]] = []

    def attempt(calibrator: str, kernels: str, tensors: Sequence[str]) -> bool:
        model = quantizer.quantized(calibrator, kernels, quantizer.float_layers(tensors))
        candidate = quantizer.work / "candidate.onnx"
        onnx.save(model, candidate)
        trial = Trial(calibrator, kernels, tuple(tensors), _ap(candidate, judging))
        tried.append((trial, model))
        what = f"{calibrator}, kernels of {kernels}, {len(tensors)} tensors in float"
        people().print(f"{what}: AP {trial.ap:.4f}, float32's {reference:.4f}")
        return trial.ap >= LEAST_AP_RATIO * reference

    found = [attempt(calibrator, kernels, ()) for calibrator, kernels in itertools.product(CALIBRATORS, KERNELS)]
    best, model = _first_of_the_best(tried)
    if not any(found):
        worst = quantizer.worst_tensors(model)
        for count in FLOAT_LAYERS_TRIED[1:]:
            if attempt(best.calibrator, best.kernels, worst[:count]):
                break
        best, model = _first_of_the_best(tried)
    operators = {node.name: node.op_type for node in quantizer.prepared.graph.node}
    return model, Quantization(
        chosen=best,
        float32_ap=reference,
        float_layers=tuple(name.removeprefix(NETWORK_SCOPE) for name in quantizer.float_layers(best.float_tensors)),
        float_after_convolutions=dict(Counter(operators[name] for name in quantizer.after_convolutions)),
        tried=tuple(trial for trial, _ in tried),
        dataset=quantizer.calibration.name,
        n_images=len(quantizer.calibration.pictures),
        n_judging_images=len(judging.pictures),
    )


def _first_of_the_best(tried: Sequence[tuple[Trial, onnx.ModelProto]]) -> tuple[Trial, onnx.ModelProto]:
    """The first whose AP is next to the highest: further tensors in float cost time, and must bring something."""
    highest = max(trial.ap for trial, _ in tried)
    return next(one for one in tried if one[0].ap >= highest - WORTHLESS_AP)


def _ap(path: Path, judging: Dataset) -> float:
    contestant = open_contestant(path, threads=0, thresholds=EVALUATION_THRESHOLDS)
    return round(evaluate(contestant, judging, CLASS_NAMES).ap(), 4)
