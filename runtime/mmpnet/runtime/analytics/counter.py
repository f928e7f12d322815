"""Counter: count people at lines and in zones, for programs of users."""

from collections.abc import Sequence
from typing import Any

from mmpnet.contract.arrays import IntArray
from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.counting import PeopleCounter
from mmpnet.runtime.analytics.shapes import parse_line, parse_zone


class Counter:
    """Counts tracked people who cross lines and who are in zones, by their feet.

        counter = Counter((1080, 1920), lines=["door=0,60%,100%,60%"])
        counter.update(detections, tracker.update(detections))
        counter.counts  # {"door": {"in_count": 3, "out_count": 1}}

    frame_hw: height and width of the frames in px. lines, zones: as the options --line and --zone of mmp-run.
    class_names: those of the detector, so that only people are counted; without them every class is.

    Raises: ValueError for a line or zone that cannot be read, MmpnetError for one that does not fit the frame.
    """

    def __init__(
        self,
        frame_hw: tuple[int, int],
        *,
        lines: Sequence[str] = (),
        zones: Sequence[str] = (),
        class_names: Sequence[str] = (),
    ) -> None:
        self.people = PeopleCounter(
            [parse_line(text, default_name=f"line{number}") for number, text in enumerate(lines, 1)],
            [parse_zone(text, default_name=f"zone{number}") for number, text in enumerate(zones, 1)],
            frame_hw=frame_hw,
            class_names=class_names,
        )

    def update(self, detections: Detections, track_ids: IntArray) -> None:
        """Count one frame: detections in px of the frame, and the track id of each (N,), -1 if it has none.

        Raises: ValueError if the number of ids differs from the number of detections.
        """
        self.people.update(detections, track_ids)

    @property
    def counts(self) -> dict[str, dict[str, Any]]:
        """The counts so far, by the name of the line or zone."""
        return self.people.as_dict()
