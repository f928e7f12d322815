"""Where the label files of YOLO images are. Both sides are checked: a label file that belongs to no image is a fault,
and so is an image whose label file is in another place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.formats._pairing import NearNames, by_key, require_single
from mmpnet.datasets.walk import file_names, files_below
from mmpnet.media.images import is_image
from mmpnet.system.files import is_file, is_folder

NO_LABELS = ("classes.txt", "predefined_classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt")
"""Text files that tools write beside label files."""


def label_path_of(image: Path) -> Path:
    """Path of an image's label file: the last images/ becomes labels/; without images/, it is beside the image."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


@dataclass(frozen=True, slots=True)
class LabelFiles:
    """The label files of the images of a split by the image's path; images without one are absent. any_found: whether
    the folders have any label file, also of no image."""

    paired: dict[Path, Path]
    any_found: bool
    n_images: int
    n_empty: int

    @classmethod
    def of(cls, images: Sequence[Path], folders: Sequence[Path], faults: Faults) -> "LabelFiles":
        """Find the label file of each image; folders: those that the description states, and not lists.

        Raises: DatasetError for what does not pair up.
        """
        by_folder: dict[Path, set[Path]] = {}
        for image in images:
            by_folder.setdefault(image.parent, set()).add(image)
        paired: dict[Path, Path] = {}
        for folder, inside in by_folder.items():
            paired |= dict(_paired(folder, inside, faults))
        labeled = {label_path_of(folder / "x").parent for folder in by_folder}
        for folder in folders:
            _require_no_others(folder, labeled, faults)
        empty = sum(1 for label in set(paired.values()) if is_file(label) and not label.stat().st_size)
        any_found = any(_label_names(folder) for folder in labeled)
        return cls(paired, any_found, len(set(images)), empty)

    def file_of(self, image: Path) -> Path | None:
        """The label file of an image, which may be absent."""
        return self.paired.get(image)

    def notes(self) -> list[str]:
        """A note about the images that have no label file, if others have one."""
        missing = self.n_images - len(self.paired)
        if not missing or not self.paired:
            return []
        example = label_path_of(next(iter(self.paired))).parent
        empty = f", and {self.n_empty} have an empty one" if self.n_empty else ""
        return [
            f"{missing} of {self.n_images} images have no label file in folders such as {example}{empty}: "
            "they are learned and measured as images without objects"
        ]


def _paired(folder: Path, images: set[Path], faults: Faults) -> Iterator[tuple[Path, Path]]:
    """The images of one folder that have a label file, with it."""
    label_folder = label_path_of(folder / "x").parent
    names = file_names(folder)
    files = [folder / name for name in names]
    labels = by_key((label_folder / name for name in _label_names(label_folder)), label_folder)
    on_disk = by_key(filter(is_image, files), folder)
    for key, found in on_disk.items():
        wanted = [image for image in found if image in images]
        with faults:
            if wanted and key in labels:
                require_single(wanted, "shares its label file with")
                require_single(labels[key], "is a second label file beside")
                yield wanted[0], labels[key][0]
            for image in wanted if key not in labels else ():
                _require_not_elsewhere(image, label_folder / f"{key}.txt")
    near = NearNames(files, folder)
    for key in sorted(labels.keys() - on_disk.keys()):
        with faults:
            raise DatasetError(f"{labels[key][0]}: {near.why_unpaired(key)}")


def _label_names(folder: Path) -> list[str]:
    if not is_folder(folder):
        return []
    return [name for name in file_names(folder) if _is_label(name)]


def _is_label(name: str) -> bool:
    lower = name.lower()
    return lower.endswith(".txt") and lower not in NO_LABELS and not lower.startswith("readme")


def _require_not_elsewhere(image: Path, expected: Path) -> None:
    """Raises: DatasetError if a label file of an image is in another place that tools use."""
    name = image.with_suffix(".txt").name
    folders = (image.parent, image.parent / "labels", image.parent.parent / "labels", expected.parent.parent)
    for place in (folder / name for folder in folders):
        if place != expected and is_file(place) and not _belongs_to_another(place):
            raise DatasetError(f"{image}: its label file seems to be {place}; expected it at {expected}; move it")


def _belongs_to_another(label: Path) -> bool:
    """Whether a label file in a folder labels/ is that of an image in images/ beside that folder."""
    images = label.parent.parent / "images"
    return (
        label.parent.name == "labels"
        and is_folder(images)
        and label.stem in by_key((images / name for name in file_names(images) if is_image(name)), images)
    )


def _require_no_others(folder: Path, labeled: set[Path], faults: Faults) -> None:
    """Raises: DatasetError for label files of folders that have no images at all."""
    label_folder = label_path_of(folder / "x").parent
    if label_folder == folder or not is_folder(label_folder):
        return
    for file in files_below(label_folder):
        if file.parent not in labeled and _is_label(file.name):
            with faults:
                raise DatasetError(f"{file}: has no image with its name; add the image, or remove the file")
