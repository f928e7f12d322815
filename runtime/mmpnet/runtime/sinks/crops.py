"""Save each detected object as a separate image file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.images import write_image
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.sinks.file_names import in_file_name, make_folder, named_after


class CropSink(Sink):
    """Saves every detected object, cropped from its frame, as FOLDER/SOURCE-FRAME-NUMBER-CLASS.jpg, best first."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder = folder
        self._class_names = class_names
        self.count = 0

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        frame, found = result.frame, result.detections
        height, width = frame.pixels_bgr.shape[:2]
        for row, xyxy in enumerate(found.xyxy):
            x1, y1 = np.floor(xyxy[:2]).astype(int).clip(0)
            x2, y2 = np.minimum(np.ceil(xyxy[2:]).astype(int), (width, height))
            if x2 <= x1 or y2 <= y1:
                continue
            if not self.count:
                make_folder(self._folder, option=f"--save-crops {self._folder}")
            class_id = int(found.class_id[row])
            name = in_file_name(self._class_names[class_id]) or f"class{class_id}"
            path = self._folder / f"{named_after(frame)}-{result.index:06d}-{row}-{name}.jpg"
            write_image(path, frame.pixels_bgr[y1:y2, x1:x2])
            self.count += 1
        return True
