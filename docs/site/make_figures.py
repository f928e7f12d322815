"""Draw the figures of docs/learn: they are the images of docs/notebooks/exercise.ipynb."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from notebooks import NOTEBOOKS, executed

FIGURES = Path(__file__).parents[1] / "images" / "learn"
QUALITY = 88


def images_of(notebook: Any) -> Iterator[tuple[str, bytes]]:
    """The name, which is the tag of a cell, and the PNG of each figure of an executed notebook."""
    for cell in notebook.cells:
        for name in cell.metadata.get("tags", ()):
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    yield name, base64.b64decode(output.data["image/png"])


def main(folder: Path = FIGURES) -> None:
    """Run the notebook and save its figures into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, png in images_of(executed(NOTEBOOKS / "exercise.ipynb")):
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        cv2.imwrite(str(folder / name), pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
