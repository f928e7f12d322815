"""Whether OpenCV can open a window on this machine."""

import os
import subprocess
import sys

import cv2

WINDOW_PROBE_S = 10.0


def why_no_window() -> str | None:
    """The reason why no window can be opened here, or None if one can."""
    gui = [line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")]
    if gui and "NONE" in gui[0]:
        return "this OpenCV is built without support for windows"
    if not sys.platform.startswith("linux"):
        return None
    if not os.environ.get("DISPLAY"):
        return "there is no display"
    # Qt aborts the whole process if the display does not answer, so a child process tries first.
    attempt = [sys.executable, "-c", "import cv2; cv2.namedWindow('mmpnet'); cv2.destroyAllWindows()"]
    try:
        opened = subprocess.run(attempt, capture_output=True, timeout=WINDOW_PROBE_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        opened = False
    return None if opened else f"the display {os.environ['DISPLAY']} does not open"
