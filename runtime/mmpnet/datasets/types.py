"""Datasets and labeled images, independent of the format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray, UInt8Array
from mmpnet.contract.errors import DatasetError
from mmpnet.media.images import read_image

BACKGROUND = "background"
Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """One labeled image: boxes_xyxy (N, 4) in px of the stored image, class_ids (N,), 0 = background unused."""

    path: Path
    image_hw: tuple[int, int]
    boxes_xyxy: FloatArray
    class_ids: IntArray
    areas_px2: FloatArray
    crowd: BoolArray
    """Neither learned from nor counted as missed: COCO's crowds, VOC's difficult objects."""
    scores: FloatArray
    """How sure whoever drew the box was, in (0, 1]: 1 for a person, its score for a detector that labeled images."""
    tags: tuple[str, ...] = ()
    """`group` and `source` of the entry, where it has them; in a mix also the name of its data set."""
    source: str | None = None
    """Where the image comes from, if its entry says so: accuracy can be reported by source."""

    def read(self) -> UInt8Array:
        """Pixels (H, W, 3) BGR.

        Raises: DatasetError if the file is unreadable or not of the size that its entry states.
        """
        frame_bgr = read_image(self.path, error=DatasetError)
        if frame_bgr.shape[:2] != self.image_hw:
            raise DatasetError(
                f"{self.path}: is {frame_bgr.shape[1]}x{frame_bgr.shape[0]} px, its entry says "
                f"{self.image_hw[1]}x{self.image_hw[0]}; correct the entry or the image"
            )
        return frame_bgr


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images and class names (index 0 is background).

    `path` is the file or folder that was read, for messages; `name` is short and says the split. `sha256` is that of
    the annotation file; where a format has many, of their names and contents. Choosing classes leaves it as it is.
    """

    path: Path
    name: str
    class_names: tuple[str, ...]
    images: tuple[LabeledImage, ...]
    sha256: str

    @property
    def num_boxes(self) -> int:
        return sum(len(image.boxes_xyxy) for image in self.images)
