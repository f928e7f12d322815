"""The runtime: from frames to detections, without torch.

    from mmpnet.runtime import Detector, open_source

The names listed here are the API. Each is imported at first use, so that a command does not load unneeded packages.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmpnet.contract.detections import Detections as Detections
    from mmpnet.contract.detections import Thresholds as Thresholds
    from mmpnet.runtime.inference.detector import Detector as Detector
    from mmpnet.runtime.sources.frame import Frame as Frame
    from mmpnet.runtime.sources.open import open_source as open_source
    from mmpnet.runtime.sources.options import CameraMode as CameraMode
    from mmpnet.runtime.sources.options import LiveOptions as LiveOptions

_HOMES = {
    "CameraMode": "mmpnet.runtime.sources.options",
    "Detections": "mmpnet.contract.detections",
    "Detector": "mmpnet.runtime.inference.detector",
    "LiveOptions": "mmpnet.runtime.sources.options",
    "Frame": "mmpnet.runtime.sources.frame",
    "Thresholds": "mmpnet.contract.detections",
    "open_source": "mmpnet.runtime.sources.open",
}
__all__ = ["CameraMode", "Detections", "Detector", "Frame", "LiveOptions", "Thresholds", "open_source"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmpnet.runtime' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
