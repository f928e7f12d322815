"""The plan of a work folder: what it is for, and what was decided when it was made."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mmpnet.adapt.camera_images import labels_of
from mmpnet.adapt.proof import GENERAL_LOSS
from mmpnet.collect.records import journal_of
from mmpnet.contract.errors import TrainingError
from mmpnet.datasets.open import open_dataset, recognize
from mmpnet.datasets.types import LabeledImage
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.files import atomic_write, file_sha256, is_file
from mmpnet.train.choices import NAMED_WEIGHTS

PLAN = "plan.json"


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
    """What a work folder is for, and what was decided when it was made.

    fingerprint: of the options and of the labels. images: hash of the names and bytes of all images that are
    learned or measured.
    """

    fingerprint: str
    images: str
    by_people: bool
    judges: tuple[str, ...]
    epochs: int
    has_general: bool


def read_plan(work: Path, fingerprint: str) -> Plan | None:
    """The plan of a work folder; None if it has none.

    Raises: TrainingError if it is damaged, or was made for other data or options.
    """
    path = work / PLAN
    if not is_file(path):
        return None
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); give another --work") from error
    if plan.fingerprint != fingerprint:
        raise TrainingError(
            f"{work}: was made for other data, labels or options; give another --work, or remove it to start again"
        )
    return plan


def write_plan(work: Path, plan: Plan) -> None:
    """Write the plan last: a work folder without one is started again. Raises: OutputError."""
    with atomic_write(work / PLAN) as partial:
        partial.write_bytes(msgspec.json.encode(plan))


def fingerprint_of(options: AdaptOptions) -> str:
    """The hash of everything that decides what is learned, files by their contents; the time to spend does not.

    Raises: DatasetError for bad data; TrainingError for a file that cannot be read.
    """
    stated = [options.model, options.weights, str(options.seed)]
    stated += [_hash(path) for path in (model_path(options.model), *options.teachers)]
    if options.weights not in NAMED_WEIGHTS:
        stated.append(_hash(Path(options.weights)))
    for paths in (options.data, options.labeled, options.held_out, options.general):
        stated.append(str(len(paths)))
        for path in paths:
            stated += [str(path.resolve()), *_labels_sha256(path)]
    return _sha256(stated)


def _labels_sha256(path: Path) -> Iterator[str]:
    """The hashes of all labels of a dataset, and of the journal of mmp-collect."""
    labels = labels_of(path)
    for split in recognize(labels).splits(labels) or ("train",):
        yield open_dataset(labels, split, undivided=True).sha256
    if is_file(journal_of(path)):
        yield _hash(journal_of(path))


def images_sha256(images: Sequence[LabeledImage]) -> str:
    """The hash of the names and bytes of these images. Raises: DatasetError for one that cannot be read."""
    return _sha256(sorted(f"{image.path.name} {hashlib.sha256(image.content()).hexdigest()}" for image in images))


def _hash(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); give or restore the file") from error


def _sha256(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
