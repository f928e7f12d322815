"""Tell frames that OpenCV did not decode from frames that repeat an image."""

from pathlib import Path

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.text import counted
from mmpnet.media.decoder_check import decoder_fault
from mmpnet.media.second_decoder import SecondDecoder, second_decoder_works
from mmpnet.runtime.sources.freeze import LastImage


class RepeatedFrames:
    """Checks the frames of one video if OpenCV fails its self-test.

    OpenCV leaves the image of the frame before in place of one that it did not convert. So a frame is doubtful if it is
    the first one, or equal to the frame before. PyAV tells then whether it is interlaced, and gives its pixels.
    `unproven` counts the doubtful frames after the first one that PyAV could not judge.
    """

    def __init__(self, path: Path) -> None:
        self.fault = decoder_fault()
        self.unproven = 0
        self._path = path
        self._second = SecondDecoder(path) if self.fault is not None and second_decoder_works() else None
        self._last = LastImage()
        self._began = False
        self._first_s = 0.0

    @property
    def is_blind(self) -> bool:
        """Whether OpenCV is not to be trusted, and there is nothing to compare it with."""
        return self.fault is not None and self._second is None

    def checked(self, pixels_bgr: UInt8Array, number: int, position_s: float) -> UInt8Array:
        """The pixels of a frame (H, W, 3): those that OpenCV gave, or those of PyAV if OpenCV did not decode it.

        number: of the frame in the video. position_s: as OpenCV states it.
        """
        if self.fault is None:
            return pixels_bgr
        is_first, self._began = not self._began, True
        is_repeated = self._last.is_repeated_by(pixels_bgr)
        if is_first:
            self._first_s = position_s
        elif not is_repeated:
            return pixels_bgr
        # OpenCV states position 0 for a frame without a time.
        time_s = position_s - self._first_s if position_s > 0 or is_first else None
        view = None if self._second is None else self._second.frame(number, time_s)
        if view is None:
            self.unproven += not is_first
            return pixels_bgr
        return pixels_bgr if view.pixels_bgr is None else view.pixels_bgr

    @property
    def advice(self) -> str:
        """The fault of OpenCV, and what to do."""
        return f"{self.fault}; or install PyAV, which decodes such files: pip install 'mmpnet[record]'"

    def explain(self, count: int) -> str | None:
        """What is wrong with a video of `count` frames, for an error; None if every frame is proven."""
        if not self.unproven:
            return None
        return (
            f"{self._path}: {counted(self.unproven, 'frame')} of {count} may not be decoded, as they repeat the frame "
            f"before; {self.advice}"
        )

    def close(self) -> None:
        """Close the second decoder."""
        if self._second is not None:
            self._second.close()
