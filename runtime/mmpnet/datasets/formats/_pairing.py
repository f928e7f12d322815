"""Pair images with label files. Both sides are checked: what does not pair up is reported, not taken for background."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import counted
from mmpnet.datasets.faults import Faults
from mmpnet.media.images import IMAGE_SUFFIXES, is_image

UNREAD_SUFFIXES = frozenset({".avif", ".gif", ".heic", ".heif", ".jp2", ".jxl"})
"""Suffixes of images that are not read."""

ByKey: TypeAlias = Mapping[str, Sequence[Path]]
"""Files by their paths relative to a folder, without suffix and with forward slashes."""


class NearNames:
    """The names of the files beside which an image was looked for, to explain why a label file has none."""

    def __init__(self, files: Iterable[Path], folder: Path) -> None:
        """files: the files below the folder of images; those that are no images do not count."""
        images = (file for file in files if is_image(file) or file.suffix.lower() in UNREAD_SUFFIXES)
        self._keys = frozenset(file.relative_to(folder).as_posix() for file in images)
        self._by_form = {_form(_without_suffix(key)): key for key in sorted(self._keys)}
        self._by_name = {_form(key.rpartition("/")[2]): key for key in sorted(self._keys, reverse=True)}

    def why_unpaired(self, key: str) -> str:
        """Why the label file with this key (a path without suffix) has no image, and what to do."""
        if key in self._keys:
            name = key.rpartition("/")[2]
            return f"repeats the suffix of {name}; rename it to the image's name without suffix"
        alike = self._by_form.get(_form(key))
        if alike is not None:
            name = alike.rpartition("/")[2]
            if not is_image(name):
                return f"belongs to {name}, which is not read; save it as JPEG or PNG"
            return f"has no image, but {name} differs only in upper and lower case or in Unicode form; rename one"
        stem = key.rpartition("/")[2]
        elsewhere = next((self._by_name[form] for form in _image_forms(stem) if form in self._by_name), None)
        if elsewhere is not None:
            return f"has no image with its name in its folder, but {elsewhere} is in another one; move one of them"
        return "has no image with its name; add the image, or remove the file"


def pair(images: ByKey, labels: ByKey, near: NearNames, faults: Faults) -> list[tuple[Path, Path]]:
    """Pair each image with its label file.

    Raises: DatasetError naming an image without label file, a label file without image, or two files with one key.
    """
    paired = []
    for key, found in images.items():
        with faults:
            if key not in labels:
                raise DatasetError(f"{found[0]}: has no label file; add one (an empty one if the image has no objects)")
            require_single(found, "shares its label file with")
            require_single(labels[key], "is a second label file beside")
            paired.append((found[0], labels[key][0]))
    for key in sorted(labels.keys() - images.keys()):
        with faults:
            raise DatasetError(f"{labels[key][0]}: {near.why_unpaired(key)}")
    return paired


def require_single(files: Sequence[Path], fault: str) -> None:
    """Raises: DatasetError with the fault if there is a second file."""
    if len(files) > 1:
        raise DatasetError(f"{files[1]}: {fault} {files[0].name}; rename or remove one of them")


def by_key(files: Iterable[Path], folder: Path) -> dict[str, list[Path]]:
    """Files below a folder by their keys, in their order."""
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(key_of(file, folder), []).append(file)
    return found


def key_of(file: Path, folder: Path) -> str:
    """A file's path relative to a folder, without suffix and with forward slashes."""
    return file.relative_to(folder).with_suffix("").as_posix()


def unread_note(files: Iterable[Path], folder: Path) -> list[str]:
    """A note about images of a folder whose kind is not read; empty if there are none."""
    unread = [file for file in files if file.suffix.lower() in UNREAD_SUFFIXES]
    if not unread:
        return []
    known = ", ".join(sorted(IMAGE_SUFFIXES))
    unread_images = counted(len(unread), "image")
    return [f"{folder}: {unread_images}, such as {unread[0].name}, left out, because only {known} are read"]


def _without_suffix(key: str) -> str:
    return Path(key).with_suffix("").as_posix()


def _form(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _image_forms(stem: str) -> list[str]:
    return [_form(stem + suffix) for suffix in sorted(IMAGE_SUFFIXES)]
