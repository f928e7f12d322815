"""Where the images of one label file are: tools place them in many ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.formats._folders import existing
from mmpnet.system.files import is_file, is_folder

_TRIED = 20
"""Images that decide in which folder the images are."""


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The folder that the names of images refer to, and all that were tried."""

    chosen: Path
    tried: tuple[Path, ...]

    def find(self, file_name: str, *, where: str) -> Path:
        """The path of an image.

        Raises: DatasetError, beginning with `where`, if it does not exist.
        """
        path = existing(self.chosen, file_name)
        if path is None or not is_file(path):
            others = ", ".join(str(one) for one in self.tried if one != self.chosen)
            also = f", and the first images are not in {others}" if others else ""
            raise DatasetError(f"{where} is not in {self.chosen}{also}; add it, or remove the entry")
        return path


def image_folder(label_path: Path, file_names: Sequence[str]) -> ImageFolder:
    """Find the folder in which most of the first images are, among those that tools use."""
    here, above = label_path.parent, label_path.parent.parent
    of_split = label_path.stem.rpartition("_")[2]  # train2017 of instances_train2017
    near = [here / "images", here, here / "data", here / label_path.stem, here / "images" / label_path.stem]
    near += [above / of_split, above / "images" / of_split, above / "images", above / "data", above]
    tried = tuple(dict.fromkeys(folder for folder in near if is_folder(folder)))
    first = file_names[:_TRIED]

    def num_found(folder: Path) -> int:
        return sum(1 for name in first if existing(folder, name) is not None)

    return ImageFolder(max(tried, key=num_found), tried)
