"""Makes the odd videos that cameras, recorders and editors write, with FFmpeg.

`python tests/adversity/odd_videos.py FOLDER` writes them all. The frame number is in the pixels: see `numbered`.
"""

import functools
import importlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.decoder_check import CLIP_GRAYS

COUNT, FPS, SIZE_HW = 60, 10, (48, 96)
"""Frames, frames per second and size of the plain video from which the others are made."""
INTERLACED = range(20, 40)
"""Frames of partly.mkv that are interlaced."""
_BITS = 8


@functools.cache
def ffmpeg() -> str:
    """The FFmpeg of the wheel imageio-ffmpeg, which the extra [dev] installs, or else that of this machine."""
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    found = shutil.which("ffmpeg")
    assert found is not None, "pip install imageio-ffmpeg, or apt-get install ffmpeg"
    return found


def numbered(number: int, size_hw: tuple[int, int] = SIZE_HW) -> UInt8Array:
    """A gray frame (H, W, 3) whose columns show the bits of `number`, the highest at the left; black is 0."""
    height, width = size_hw
    bits = [number >> bit & 1 for bit in reversed(range(_BITS))]
    row = np.repeat(np.array(bits, np.uint8) * 200 + 20, width // _BITS)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def number_in(frame_bgr: UInt8Array) -> int:
    """The number that a frame (H, W, 3) shows, whatever its size."""
    width = frame_bgr.shape[1] // _BITS
    means = [float(frame_bgr[:, width * bit + 2 : width * (bit + 1) - 2].mean()) for bit in range(_BITS)]
    return sum(1 << (_BITS - 1 - bit) for bit, mean in enumerate(means) if mean > 120)


def _run(arguments: Sequence[object], *, given: bytes | None = None) -> None:
    subprocess.run([ffmpeg(), "-v", "error", "-y", *map(str, arguments)], input=given, check=True)


def _raw(fps: int) -> list[object]:
    """Options that read the bytes of numbered frames."""
    return ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{SIZE_HW[1]}x{SIZE_HW[0]}", "-r", fps, "-i", "-"]


@functools.cache
def plain(folder: Path) -> Path:
    """COUNT numbered frames as H.264 in an MP4."""
    frames = b"".join(numbered(number).tobytes() for number in range(COUNT))
    out = folder / "plain.mp4"
    _run([*_raw(FPS), "-c:v", "libx264", "-g", 10, "-pix_fmt", "yuv420p", out], given=frames)
    return out


def made(folder: Path, name: str, *arguments: object) -> Path:
    """A video made from the plain one by these arguments."""
    _run(["-i", plain(folder), *arguments, folder / name])
    return folder / name


def made_from(folder: Path, name: str, reading: Sequence[object], *arguments: object) -> Path:
    """A video made from the plain one, which is read with the options `reading`."""
    _run([*reading, "-i", plain(folder), *arguments, folder / name])
    return folder / name


def cut(path: Path, part: float) -> Path:
    """The beginning of a file: this part of its bytes."""
    content = path.read_bytes()
    cut_path = path.with_name(f"cut-{path.name}")
    cut_path.write_bytes(content[: int(part * len(content))])
    return cut_path


_UNEVEN = "select='not(between(n,20,49))+not(mod(n,10))'"  # frames 20 to 49 leave only 20, 30 and 40
_GAP = "settb=1/90000,setpts='if(lt(N,30),N*9000,N*9000+300*90000)'"  # five minutes between frames 29 and 30
_SOUND = ["-f", "lavfi", "-t", 8, "-i", "anullsrc=r=8000:cl=mono", "-map", "0:v", "-map", "1:a", "-c:v", "copy"]

VIDEOS: dict[str, Callable[[Path], Path]] = {
    "plain.mp4": plain,
    "uneven.mp4": lambda folder: made(folder, "uneven.mp4", "-vf", _UNEVEN, "-fps_mode", "vfr"),
    "uneven.webm": lambda folder: made(
        folder, "uneven.webm", "-vf", _UNEVEN, "-fps_mode", "vfr", "-c:v", "libvpx", "-b:v", "2M"
    ),
    "gap.mp4": lambda folder: made(
        folder,
        "gap.mp4",
        "-vf",
        _GAP,
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1/90000",
        "-video_track_timescale",
        90000,
    ),
    "slow.mp4": lambda folder: made_from(folder, "slow.mp4", ["-r", 0.4], "-frames:v", 6),
    "sound.mkv": lambda folder: made(folder, "sound.mkv", *_SOUND, "-c:a", "aac"),
    "offset.mkv": lambda folder: made(folder, "offset.mkv", "-c", "copy", "-output_ts_offset", 3600),
    "edited.mp4": lambda folder: made_from(folder, "edited.mp4", ["-ss", 1.75], "-c", "copy"),
    "raw.h264": lambda folder: made(folder, "raw.h264", "-c", "copy", "-bsf:v", "h264_mp4toannexb"),
    "plain.avi": lambda folder: made(folder, "plain.avi", "-c", "copy"),
    "plain.ts": lambda folder: made(folder, "plain.ts", "-c", "copy"),
    "plain.mkv": lambda folder: made(folder, "plain.mkv", "-c", "copy"),
    "front.mp4": lambda folder: made(folder, "front.mp4", "-c", "copy", "-movflags", "faststart"),
    "parts.mp4": lambda folder: made(folder, "parts.mp4", "-c", "copy", "-movflags", "frag_keyframe+empty_moov"),
    "joined.ts": lambda folder: _joined(VIDEOS["plain.ts"](folder), folder / "joined.ts"),
    "interlaced.mp4": lambda folder: made(
        folder, "interlaced.mp4", "-x264opts", "tff=1", "-flags", "+ilme+ildct", "-pix_fmt", "yuv420p"
    ),
    "interlaced.mpg": lambda folder: made(
        folder, "interlaced.mpg", "-r", 25, "-c:v", "mpeg2video", "-q:v", 2, "-flags", "+ilme+ildct"
    ),
    "partly.mkv": lambda folder: _partly_interlaced(folder),
    "interlaced.mkv": lambda folder: _self_test(folder),
    "wide.mp4": lambda folder: made(folder, "wide.mp4", "-vf", "setsar=4/3"),
    "turned.mp4": lambda folder: _turned(folder),
    "ten-bit.mkv": lambda folder: made(folder, "ten-bit.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le"),
}
"""Each odd video by its name, and the function that makes it in a folder."""


def _partly_interlaced(folder: Path) -> Path:
    """MPEG-2 whose frames from INTERLACED on are interlaced, and whose others are not."""
    parts = []
    for number, (first, flags) in enumerate(((0, ""), (20, "+ilme+ildct"), (40, ""))):
        part = folder / f"part{number}.m2v"
        # No frame waits for the next part.
        encode = ["-r", 25, "-c:v", "mpeg2video", "-q:v", 2, "-bf", 0, "-g", 5, "-flags", f"+low_delay{flags}"]
        frames = b"".join(numbered(at).tobytes() for at in range(first, first + 20))
        _run([*_raw(25), *encode, part], given=frames)
        parts.append(str(part))
    out = folder / "partly.mkv"
    times = ["-bsf:v", "setts=ts=N/25/TB"]
    _run(["-f", "mpegvideo", "-i", "concat:" + "|".join(parts), "-c", "copy", *times, out])
    return out


def _self_test(folder: Path) -> Path:
    """The clip of mmpnet.media.decoder_check: four interlaced frames of one gray value each."""
    out = folder / "interlaced.mkv"
    frames = b"".join(np.full((32, 48), gray, np.uint8).tobytes() for gray in CLIP_GRAYS)
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "48x32", "-r", 25, "-i", "-"]
    coding = ["-vf", "setfield=tff", "-c:v", "mpeg2video", "-pix_fmt", "yuv420p", "-q:v", 2, "-g", 1]
    exact = ["-map_metadata", -1, "-fflags", "+bitexact", "-flags:v", "+bitexact+ilme+ildct"]
    _run([*raw, *coding, *exact, out], given=frames)
    return out


def _joined(path: Path, out: Path) -> Path:
    out.write_bytes(path.read_bytes() * 2)
    return out


def _turned(folder: Path) -> Path:
    """A video that is to be shown after a quarter turn, as telephones record it."""
    out = folder / "turned.mp4"
    # FFmpeg 5 reads the older of the two options.
    try:
        _run(["-display_rotation", 90, "-i", plain(folder), "-c", "copy", out])
    except subprocess.CalledProcessError:
        _run(["-i", plain(folder), "-c", "copy", "-metadata:s:v:0", "rotate=90", out])
    return out


def main() -> None:
    """Write every video into the folder on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in VIDEOS.items():
        make(folder)
        sys.stdout.write(f"{folder / name}\n")


if __name__ == "__main__":
    main()
