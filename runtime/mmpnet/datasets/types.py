"""Datasets and labeled images, independent of the format."""

from dataclasses import dataclass
from pathlib import Path

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray, UInt8Array
from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.shards import ShardPart
from mmpnet.media.images import decode_image, read_content

BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """One labeled image: boxes_xyxy (N, 4) in px of the stored image, class_ids (N,), never 0 (background)."""

    path: Path
    image_hw: tuple[int, int]
    boxes_xyxy: FloatArray
    class_ids: IntArray
    areas_px2: FloatArray
    crowd: BoolArray
    """Boxes that are neither used for training nor counted as missed: COCO's crowds, VOC's difficult objects."""
    scores: FloatArray
    """Confidence of each box in (0, 1]: 1 if a person drew it, the score if a detector did."""
    tags: tuple[str, ...] = ()
    """`group` and `source` of the entry, if it has them; in a mix also the name of its dataset."""
    source: str | None = None
    """Origin of the image, if its entry states it: accuracy can be reported per source."""
    shard: ShardPart | None = None
    """Where its bytes are if it is in a shard; `path` is then only a name for people."""

    def content(self) -> bytes:
        """The bytes of the image file.

        Raises: DatasetError if they cannot be read, or are not those that the entry states.
        """
        if self.shard is not None:
            return self.shard.read(self.path.name)
        return read_content(self.path, error=DatasetError)

    def read(self) -> UInt8Array:
        """Pixels (H, W, 3) BGR.

        Raises: DatasetError if the file is unreadable or its size differs from the entry's.
        """
        return self.decoded(self.content())

    def decoded(self, content: bytes) -> UInt8Array:
        """Pixels (H, W, 3) BGR of `content`. Raises: DatasetError as `read`."""
        frame_bgr = decode_image(content, self.path, error=DatasetError)
        if frame_bgr.shape[:2] != self.image_hw:
            raise DatasetError(
                f"{self.path}: is {frame_bgr.shape[1]}x{frame_bgr.shape[0]} px, but its entry states "
                f"{self.image_hw[1]}x{self.image_hw[0]} px; correct the entry or the image"
            )
        return frame_bgr


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images and class names (index 0 is background).

    `path` is the file or folder that was read, for messages; `name` is short and includes the split. `sha256` is that
    of the annotation file; for formats with many files, of their names and contents. Selecting classes keeps it.
    `notes` are lines for people about what was left out or given a meaning, such as images without label file.
    """

    path: Path
    name: str
    class_names: tuple[str, ...]
    images: tuple[LabeledImage, ...]
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def num_boxes(self) -> int:
        return sum(len(image.boxes_xyxy) for image in self.images)
