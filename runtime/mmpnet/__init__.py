"""MmpNet: train a small person detector, export it to one ONNX file, run it on an edge device.

In a source tree this package lies in three folders: train, export and runtime, so that a device needs the last one
only. Its path names them all; an installed wheel has one folder.
"""

from typing import Any

# Tools that read the code without running it know this line, but not one that imports extend_path.
__path__ = __import__("pkgutil").extend_path(__path__, __name__)
# This module is not the only place of the package. Import Linter takes packages below a parent that says so for
# roots of their own, as it does below a namespace without a file.
if __spec__ is not None:
    __spec__.has_location = False


def __getattr__(name: str) -> Any:
    if name != "__version__":
        raise AttributeError(f"module 'mmpnet' has no attribute {name!r}")
    # importlib.metadata takes longer to load than the rest of the package, and few programs ask for the version.
    from importlib.metadata import version

    return version("mmpnet")


def __dir__() -> list[str]:
    return sorted([*globals(), "__version__"])
