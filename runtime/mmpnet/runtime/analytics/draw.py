"""draw: boxes, names, tracks and counts on a copy of a frame, for programs of users."""

from collections.abc import Sequence

from mmpnet.contract.arrays import IntArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.media.drawing import draw_detections
from mmpnet.media.plates import Plates
from mmpnet.runtime.analytics.counter import Counter
from mmpnet.runtime.analytics.overlay import draw_counts


def draw(
    frame_bgr: UInt8Array,
    detections: Detections,
    class_names: Sequence[str],
    *,
    track_ids: IntArray | None = None,
    counter: Counter | None = None,
) -> UInt8Array:
    """A copy of the frame (H, W, 3) uint8 BGR with the detections drawn on it.

    class_names: those of the detector, by class id. track_ids (N,): those of the tracker, -1 for none.
    counter: its lines and zones are drawn too, with their counts.
    """
    drawn = frame_bgr.copy()
    plates = Plates((drawn.shape[0], drawn.shape[1]))
    if counter is not None:
        draw_counts(drawn, counter.people, plates)
    draw_detections(drawn, detections, class_names, track_ids, plates)
    plates.paint(drawn)
    return drawn
