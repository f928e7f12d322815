"""The runtime: from frames to detections, without torch.

    from mmpnet.runtime import Detector, open_source

What is named here is the API; it is imported when it is first used, so that one command never loads another's packages.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmpnet.contract.detections import Detections as Detections
    from mmpnet.contract.detections import Thresholds as Thresholds
    from mmpnet.runtime.capture import CameraMode as CameraMode
    from mmpnet.runtime.capture import LiveOptions as LiveOptions
    from mmpnet.runtime.detector import Detector as Detector
    from mmpnet.runtime.frames import Frame as Frame
    from mmpnet.runtime.sources import open_source as open_source

_HOMES = {
    "CameraMode": "mmpnet.runtime.capture",
    "Detections": "mmpnet.contract.detections",
    "Detector": "mmpnet.runtime.detector",
    "LiveOptions": "mmpnet.runtime.capture",
    "Frame": "mmpnet.runtime.frames",
    "Thresholds": "mmpnet.contract.detections",
    "open_source": "mmpnet.runtime.sources",
}
__all__ = ["CameraMode", "Detections", "Detector", "Frame", "LiveOptions", "Thresholds", "open_source"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmpnet.runtime' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
