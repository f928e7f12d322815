"""A folder of collected images: a journal with one line per image, the images, and their labels for other tools.

The line of an image is on the disk before the image: after a crash, a line without its image is left out, and there is
no image without a line, which would be taken for background.
"""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from mmpnet.collect.label_files import write_label_files, write_yolo_labels
from mmpnet.collect.records import CollectedImage, journal_of
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import OutputError
from mmpnet.media.images import write_image
from mmpnet.system.claims import Claim
from mmpnet.system.files import atomic_write, is_file, what_to_do

LEAST_FREE_BYTES = 100_000_000
"""A camera's recorder and its logs share the disk: collecting stops before it is full."""


class Collection:
    """The folder, open for adding; a second run goes on with what the first one left.

    class_names: those of the labels, index 0 is background.

    Raises: OutputError if the folder cannot be written, another run writes to it, or its journal is of other classes.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.folder = folder
        self._class_names = tuple(class_names)
        self._journal = journal_of(folder)
        try:
            (folder / "images").mkdir(parents=True, exist_ok=True)
            (folder / "labels").mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error
        self._claim = Claim(self._journal)
        try:
            self.images = _resumed(self._journal, folder)
            self._check_classes()
        except BaseException:
            self._claim.close()
            raise
        self._names = {image.name for image in self.images}
        self.bytes = sum(self.path_of(image).stat().st_size for image in self.images)
        self.per_day = Counter(image.day for image in self.images)

    def __enter__(self) -> "Collection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claim.close()

    def path_of(self, image: CollectedImage) -> Path:
        return self.folder / "images" / image.name

    def free_name(self, stem: str) -> str:
        """A file name for an image with this stem that is not taken."""
        number, name = 1, f"{stem}.jpg"
        while name in self._names:
            number += 1
            name = f"{stem}-{number}.jpg"
        return name

    def add(self, image: CollectedImage, pixels_bgr: UInt8Array) -> None:
        """Write an image and its line.

        Raises: OutputError if it cannot be written, or the disk has less than LEAST_FREE_BYTES left; what was collected
        before stays whole.
        """
        free = shutil.disk_usage(self.folder).free
        if free < LEAST_FREE_BYTES:
            raise OutputError(
                f"{self.folder}: the disk has {free / 1e6:.0f} MB left, fewer than {LEAST_FREE_BYTES / 1e6:.0f} MB; "
                "free space, and start the same command again"
            )
        self._append(image)
        if not any(one.ignored for one in image.boxes):
            write_yolo_labels(self.folder, image)
        write_image(self.path_of(image), pixels_bgr)
        self.images.append(image)
        self._names.add(image.name)
        self.bytes += self.path_of(image).stat().st_size
        self.per_day[image.day] += 1

    def write_label_files(self) -> None:
        """Write the labels of all images for other tools. Raises: OutputError if they cannot be written."""
        write_label_files(self.folder, self.images, self._class_names)

    def _append(self, image: CollectedImage) -> None:
        """Append a line, or leave the journal as it was."""
        before = self._journal.stat().st_size if is_file(self._journal) else 0
        try:
            with self._journal.open("ab") as file:
                file.write(msgspec.json.encode(image) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if is_file(self._journal):
                os.truncate(self._journal, before)
            raise OutputError(
                f"{self._journal}: cannot be written ({error.strerror or error}); {what_to_do(error)}"
            ) from error

    def _check_classes(self) -> None:
        largest = max((box.class_id for image in self.images for box in image.boxes), default=0)
        if largest >= len(self._class_names):
            raise OutputError(
                f"{self.folder}: has labels of class {largest}, but the model knows {len(self._class_names) - 1}; "
                "choose another folder, or the model of the first run"
            )


def _resumed(journal: Path, folder: Path) -> list[CollectedImage]:
    """The images of an earlier run; a line that a crash cut off, or whose image is missing, is removed.

    Raises: OutputError if a line is not one of a journal.
    """
    if not is_file(journal):
        return []
    content = journal.read_bytes()
    lines = content.split(b"\n")[:-1]
    images = []
    for number, line in enumerate(lines, 1):
        try:
            image = msgspec.json.decode(line, type=CollectedImage)
        except msgspec.DecodeError as error:
            raise OutputError(
                f"{journal}:{number}: is not a line of mmp-collect ({error}); restore the file, or choose another "
                "folder"
            ) from error
        if is_file(folder / "images" / image.name):
            images.append(image)
    whole = b"".join(msgspec.json.encode(one) + b"\n" for one in images)
    if whole != content:
        with atomic_write(journal) as partial:
            partial.write_bytes(whole)
    return images
