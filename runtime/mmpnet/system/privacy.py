"""Switch off what libraries do unasked: usage reports over the network, and caches below the home folder."""

import atexit
import os
import shutil
import tempfile
import uuid
from pathlib import Path

OPT_OUTS = {
    # ONNX Runtime 1.29 and later report model names, durations and a lasting device id to their maker, on Linux too.
    # Its API to switch this off comes too late: the first report leaves at the import.
    "ORT_DISABLE_TELEMETRY": "1",
    # For libraries that others bring, in versions to come.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""Environment variables that switch usage reports off, with the value that does it."""
CACHE_FOLDERS = {"MPLCONFIGDIR": "matplotlib", "TORCHINDUCTOR_CACHE_DIR": "torch"}
"""Environment variables that name the caches of libraries, with a folder's name for each."""


def disable_usage_reports() -> None:
    """Opt out of the usage reports of this process and of those that it starts; a value that the user set stays.

    Must run before the libraries are imported.
    """
    for name, value in OPT_OUTS.items():
        os.environ.setdefault(name, value)


def move_caches() -> None:
    """Have matplotlib's list of fonts and torch's compiled code in a temporary folder, removed at exit; a folder that
    the user set stays.

    The libraries make their folders when they are imported, so a command that needs none leaves nothing to remove.
    """
    unset = {name: folder for name, folder in CACHE_FOLDERS.items() if name not in os.environ}
    try:
        caches = Path(tempfile.gettempdir()) / f"mmpnet-{uuid.uuid4().hex}"
    except FileNotFoundError:  # no temporary folder can be written: a library that needs one will say so
        return
    if unset:
        os.environ.update({name: str(caches / folder) for name, folder in unset.items()})
        atexit.register(shutil.rmtree, caches, ignore_errors=True)


def what_is_sent() -> str:
    """What leaves this machine unasked, in one line."""
    if os.environ.get("ORT_DISABLE_TELEMETRY") == OPT_OUTS["ORT_DISABLE_TELEMETRY"]:
        return "nothing; ONNX Runtime's usage reports are off"
    value = os.environ.get("ORT_DISABLE_TELEMETRY")
    return f"ONNX Runtime's usage reports may be on: ORT_DISABLE_TELEMETRY is {value!r}; unset it, or set it to 1"
