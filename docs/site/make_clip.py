"""Make the clip of the documentation, on which a computer without a camera counts people.

    python docs/site/make_clip.py VIDEO

VIDEO is one-by-one-person-detection.mp4 of https://github.com/intel-iot-devkit/sample-videos (CC BY 4.0). Needs
mmpnet[record].
"""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import av
import typer

from mmpnet.console.command import console, exit_on_error
from mmpnet.contract.errors import MmpnetError
from mmpnet.system.files import atomic_write

CLIP = Path(__file__).parents[1] / "media" / "door.mp4"
PARTS = ((743, 780), (843, 871), (921, 954), (1175, 1203))
"""First frame and frame after the last of each part: two people come and go. They stand still, or nobody is there, in
what is left out between the parts."""
WIDTH_PX, HEIGHT_PX = 640, 360
FPS = 10
ENCODER = {"crf": "23", "preset": "veryslow", "threads": "1"}
app = typer.Typer(add_completion=False)


def frames_of_parts(video: Path) -> Iterator[av.VideoFrame]:
    """The frames of the parts, scaled. Raises: MmpnetError if the video cannot be read or is shorter."""
    index = -1
    try:
        with av.open(str(video)) as opened:
            for index, frame in enumerate(opened.decode(video=0)):
                if any(first <= index < end for first, end in PARTS):
                    yield frame.reformat(width=WIDTH_PX, height=HEIGHT_PX, format="yuv420p")
    except (OSError, av.error.FFmpegError) as error:
        raise MmpnetError(f"{video}: cannot be read as a video ({error})") from error
    if index + 1 < PARTS[-1][1]:
        raise MmpnetError(f"{video}: has {index + 1} frames, expected at least {PARTS[-1][1]}")


def encode(frames: Iterator[av.VideoFrame], path: Path) -> int:
    """Write the frames as H.264 without sound and without metadata; how many there were."""
    count = 0
    # Nothing but the frames: no date, no version and no name of another file.
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as clip:
        stream = clip.add_stream("libx264", rate=FPS, options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for count, frame in enumerate(frames, 1):
            frame.pts, frame.time_base = count - 1, Fraction(1, FPS)
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode(None))
    return count


@app.command()
def make(video: Annotated[Path, typer.Argument(help="one-by-one-person-detection.mp4")]) -> None:
    """Write door.mp4."""
    with exit_on_error():
        with atomic_write(CLIP) as partial:
            count = encode(frames_of_parts(video), partial)
        console().print(f"saved {count} frames in {CLIP}, {CLIP.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    sys.exit(app())
