"""The runtime: from frames to detections, without torch.

    from mmpnet.runtime import Detector, open_source

The names listed here are the API. Each is imported at first use, so that a command does not load unneeded packages.
"""

from typing import TYPE_CHECKING

from mmpnet.contract.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmpnet.contract.detections import Detection as Detection
    from mmpnet.contract.detections import Detections as Detections
    from mmpnet.contract.thresholds import Thresholds as Thresholds
    from mmpnet.runtime.analytics.counter import Counter as Counter
    from mmpnet.runtime.analytics.draw import draw as draw
    from mmpnet.runtime.analytics.tracker import Tracker as Tracker
    from mmpnet.runtime.inference.detector import Detector as Detector
    from mmpnet.runtime.sources.frame import Frame as Frame
    from mmpnet.runtime.sources.open import open_source as open_source
    from mmpnet.runtime.sources.options import CameraMode as CameraMode
    from mmpnet.runtime.sources.options import LiveOptions as LiveOptions

__all__ = [
    "CameraMode",
    "Counter",
    "Detection",
    "Detections",
    "Detector",
    "Frame",
    "LiveOptions",
    "Thresholds",
    "Tracker",
    "draw",
    "open_source",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CameraMode": "mmpnet.runtime.sources.options",
        "Counter": "mmpnet.runtime.analytics.counter",
        "Detection": "mmpnet.contract.detections",
        "Detections": "mmpnet.contract.detections",
        "Detector": "mmpnet.runtime.inference.detector",
        "Frame": "mmpnet.runtime.sources.frame",
        "LiveOptions": "mmpnet.runtime.sources.options",
        "Thresholds": "mmpnet.contract.thresholds",
        "Tracker": "mmpnet.runtime.analytics.tracker",
        "draw": "mmpnet.runtime.analytics.draw",
        "open_source": "mmpnet.runtime.sources.open",
    },
)
