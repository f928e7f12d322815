"""Folders of images without labels, for what needs none."""

from pathlib import Path

import numpy as np

from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import counted, well_formed
from mmpnet.datasets.formats._folders import read_bytes, relative_name, sha256_of
from mmpnet.datasets.open import FORMATS
from mmpnet.datasets.types import BACKGROUND, Dataset, LabeledImage
from mmpnet.datasets.walk import files_below
from mmpnet.media.image_size import image_size_hw
from mmpnet.media.images import is_image
from mmpnet.system.files import is_folder


def is_plain_folder(path: Path) -> bool:
    """Whether a folder has images, itself or below, and labels of no known format.

    Raises: DatasetError if it cannot be listed; MissingExtraError.
    """
    if not is_folder(path) or any(one.evidence(path) is not None for one in FORMATS):
        return False
    return any(map(is_image, files_below(path)))


def read_plain_images(path: Path) -> Dataset:
    """The images of a folder and of the folders below it, without boxes and classes, and a note about this.

    Raises: DatasetError if an image is unreadable.
    """
    images = tuple(_unlabeled(file) for file in files_below(path) if is_image(file))
    contents = ((relative_name(one.path, path), read_bytes(one.path, expected="an image")) for one in images)
    return Dataset(
        path=path,
        name=well_formed(path.resolve().name),
        class_names=(BACKGROUND,),
        images=images,
        sha256=sha256_of(contents),
        notes=(f"{path}: {counted(len(images), 'image')} without labels: it is not known what they show",),
    )


def _unlabeled(path: Path) -> LabeledImage:
    return LabeledImage(
        path=path,
        image_hw=image_size_hw(path, error=DatasetError),
        boxes_xyxy=np.zeros((0, 4), np.float32),
        class_ids=np.zeros(0, np.int64),
        areas_px2=np.zeros(0, np.float32),
        crowd=np.zeros(0, np.bool_),
        scores=np.zeros(0, np.float32),
    )
