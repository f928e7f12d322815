"""Switch off what libraries do without being asked: usage reports, and caches in the home folder."""

import atexit
import os
import shutil
import tempfile
import uuid
from pathlib import Path

OPT_OUTS = {
    # ONNX Runtime 1.29 and later send model names, durations and a persistent device id to Microsoft, on Linux too.
    # Its function to disable this comes too late, as the import sends the first report.
    "ORT_DISABLE_TELEMETRY": "1",
    # Ray reports versions, operating system and numbers of machines every hour.
    "RAY_USAGE_STATS_ENABLED": "0",
    # For indirect dependencies that may report in future versions.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""Environment variables that switch usage reports off, with the value to set."""
CACHE_FOLDERS = {"MPLCONFIGDIR": "matplotlib", "TORCHINDUCTOR_CACHE_DIR": "torch"}
"""Environment variables that set the cache folders of libraries, with a folder name for each."""


def disable_usage_reports() -> None:
    """Disable usage reports of this process and its child processes; a value that the user has set is kept.

    Must run before the libraries are imported.
    """
    for name, value in OPT_OUTS.items():
        os.environ.setdefault(name, value)


def move_caches() -> None:
    """Move matplotlib's font list and torch's compiled code to a temporary folder, which is removed at exit.

    A folder that the user has set is kept. The libraries make their folders at import, so a command that does not
    import them leaves nothing to remove.
    """
    unset = {name: folder for name, folder in CACHE_FOLDERS.items() if name not in os.environ}
    try:
        caches = Path(tempfile.gettempdir()) / f"mmpnet-{uuid.uuid4().hex}"
    except FileNotFoundError:  # there is no writable temporary folder: a library that needs one raises its own error
        return
    if unset:
        os.environ.update({name: str(caches / folder) for name, folder in unset.items()})
        atexit.register(shutil.rmtree, caches, ignore_errors=True)


def what_is_sent() -> str:
    """Report in one line what leaves this machine without being asked."""
    if os.environ.get("ORT_DISABLE_TELEMETRY") == OPT_OUTS["ORT_DISABLE_TELEMETRY"]:
        return "nothing; ONNX Runtime's usage reports are off"
    value = os.environ.get("ORT_DISABLE_TELEMETRY")
    return f"ONNX Runtime's usage reports may be on: ORT_DISABLE_TELEMETRY is {value!r}; unset it, or set it to 1"
