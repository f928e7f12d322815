"""Where the images of one label file are: tools place them in many ways."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import counted
from mmpnet.datasets.formats._folders import existing, read_bytes
from mmpnet.datasets.walk import file_names
from mmpnet.media.images import is_image
from mmpnet.system.files import is_file, is_folder

_TRIED = 20
"""Images that decide in which folder the images are."""

_NAME = re.compile(rb'"(?:file_name|filename|fname)"\s*:\s*("(?:[^"\\]|\\.)*")')
"""The name of an image in JSON of COCO and VIA; a label file of gigabytes is not parsed to learn its names."""


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The folder that the names of images refer to, and all that were tried."""

    chosen: Path
    tried: tuple[Path, ...]

    def find(self, file_name: str, *, where: str) -> Path:
        """The path of an image.

        Raises: DatasetError, beginning with `where`, if it does not exist.
        """
        path = _named(self.chosen, file_name)
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
    if here.name == "annotations":  # CVAT's archive without images, unpacked in a folder beside the images
        near += [above.parent / "images", above.parent]
    tried = tuple(dict.fromkeys(folder for folder in near if is_folder(folder)))
    first = file_names[:_TRIED]

    def num_found(folder: Path) -> int:
        return sum(1 for name in first if _named(folder, name) is not None)

    return ImageFolder(max(tried, key=num_found), tried)


def _named(folder: Path, stated: str) -> Path | None:
    """The image that a label file names, or None. Label Studio without images states a path from a temporary folder to
    the image, of which the longest ending that is there counts."""
    found = existing(folder, stated)
    if found is None and stated.startswith(("../", "..\\")):
        parts = [part for part in stated.replace("\\", "/").split("/") if part != ".."]
        endings = ("/".join(parts[at:]) for at in range(len(parts)))
        return next((place for ending in endings if (place := existing(folder, ending)) is not None), None)
    return found


def unnamed_note(label_path: Path, named: Iterable[Path]) -> list[str]:
    """Notes about images that are beside the named ones, and that neither this label file names nor a JSON beside it:
    an export of the images that are done leaves out the others."""
    by_folder: dict[Path, set[str]] = {}
    for path in named:
        by_folder.setdefault(path.parent, set()).add(path.name)
    left_out = {
        folder: [name for name in file_names(folder) if is_image(Path(name)) and name not in names]
        for folder, names in by_folder.items()
    }
    if not any(left_out.values()):
        return []
    elsewhere = _names_beside(label_path)
    notes = []
    for folder, names in left_out.items():
        missing = [name for name in names if name not in elsewhere]
        if missing:
            images = counted(len(missing), "image")
            told = f"{images}, such as {missing[0]}, without an entry in {label_path.name}: not used"
            notes.append(f"{folder}: {told}")
    return notes


def _names_beside(label_path: Path) -> set[str]:
    """The names of images, without folders, in the JSON files beside a label file."""
    found: set[str] = set()
    for name in file_names(label_path.parent):
        path = label_path.parent / name
        if path.suffix.lower() == ".json" and path != label_path and is_file(path):
            texts = (json.loads(text) for text in _NAME.findall(read_bytes(path, expected="JSON")))
            found.update(text.replace("\\", "/").rpartition("/")[2] for text in texts)
    return found
