"""Videos with moving bright rectangles, as recorders write them: H.264 with B-frames and several key frames."""

from pathlib import Path

import av
import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array

FPS = 10
KEY_FRAMES_EVERY = 20


def moving_people(number: int, *, seed: int = 0) -> UInt8Array:
    """Frame `number`, (96, 128, 3): noise, and two bright rectangles that walk through it."""
    random = np.random.default_rng((seed, number))
    frame = random.integers(0, 90, (96, 128, 3), dtype=np.uint8)
    for person in range(2):
        x = (number * (1 + person) + 40 * person + 13 * seed) % 110
        cv2.rectangle(frame, (x, 20 + 10 * person), (x + 18, 75), (60, 220, 250), cv2.FILLED)
    return frame


def write_h264(path: Path, *, frames: int, seed: int = 0, late: dict[int, int] | None = None) -> Path:
    """A video of `frames` frames; `late`: by how many frame times a frame, and all after it, come later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    delay = 0
    with av.open(str(path), "w") as container:
        options = {"g": str(KEY_FRAMES_EVERY), "bf": "2", "sc_threshold": "0", "threads": "1"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(frames):
            delay += (late or {}).get(number, 0)
            frame = av.VideoFrame.from_ndarray(moving_people(number, seed=seed), format="bgr24")
            frame.pts = number + delay
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
