"""Diagnose compiled libraries that cannot be loaded, and say what to install."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

from mmpnet.system.child_python import PYTHON_COMMAND

RIVAL_WHEELS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
}
"""Packages that install the same module: if two are installed, each has overwritten files of the other."""
EITHER_OPENCV = "pip install 'mmpnet[cpu]', or 'mmpnet[headless]' for a machine without windows"
PROBE_S = 120.0
_TITLES = {"cv2": "OpenCV", "onnxruntime": "ONNX Runtime"}
_MISSING_FILE = re.compile(r"([\w.+-]+\.so[\w.]*): cannot open shared object file")
_DEBIAN_PACKAGES = {
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
    "libz.so.1": "zlib1g",
}
"""Debian packages of the shared libraries that wheels expect from the system. OpenCV's advice names its own."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Result of importing a module in a child process: the value of the expression, or the reason of the failure."""

    answer: str = ""
    fault: str | None = None


def probe(module: str, expression: str) -> Probe:
    """Import a module in a child process and evaluate an expression there; a crash becomes a one-line fault."""
    code = f"import {module}; print({expression})"
    try:
        done = subprocess.run(
            [*PYTHON_COMMAND, "-c", code], capture_output=True, text=True, timeout=PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Probe(fault=f"{_title(module)} cannot be loaded: its import takes more than {PROBE_S:g} s")
    if done.returncode < 0:
        return Probe(fault=f"{_title(module)} cannot be loaded: Python {crash(done.returncode)}; {_other(module)}")
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return Probe(fault=explain(module, said[-1] if said else f"exit code {done.returncode}"))
    return Probe(answer=done.stdout.strip())


def crash(returncode: int) -> str:
    """Describe a negative exit code."""
    name = next((one.name for one in signal.Signals if one.value == -returncode), str(-returncode))
    means = {
        "SIGILL": "an instruction that this processor does not have",
        "SIGSEGV": "a segmentation fault",
        "SIGABRT": "a library aborted",
        "SIGKILL": "killed, perhaps because memory ran out",
    }
    return f"was ended by {name}" + (f" ({means[name]})" if name in means else "")


def explain_import(error: Exception, *, extra: str) -> str | None:
    """Explain why a third-party module could not be imported and what to do; None if the fault is in mmpnet itself.

    extra: the extra of mmpnet that installs the module.

    Raises: KeyboardInterrupt if Ctrl-C ended the import: modules of pybind11, such as that of ONNX Runtime, report it
    as an ImportError.
    """
    if _is_interrupt(error):
        raise KeyboardInterrupt from error
    module = _culprit(error)
    if module is None or module == "mmpnet":
        return None
    return explain(module, str(error), extra=extra)


def _is_interrupt(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def explain_incomplete() -> str | None:
    """Returns the advice for an OpenCV module that a partly removed package left behind; None if OpenCV is whole."""
    opencv = sys.modules.get("cv2")
    return None if opencv is None or hasattr(opencv, "imdecode") else explain("cv2", "cv2 has no attribute imdecode")


def explain(module: str, reason: str, *, extra: str = "cpu") -> str:
    """Returns one line about a module that cannot be imported, made from the text of its error."""
    title, first = _title(module), reason.strip().splitlines()[0] if reason.strip() else "no reason given"
    missing = _MISSING_FILE.search(reason)
    if missing and module == "cv2":
        return (
            f"{title} cannot be loaded: {missing[1]} is missing; apt-get install libgl1 libglib2.0-0; or, for a "
            f"machine without windows, pip uninstall {_present(module)}, then pip install 'mmpnet[headless]'"
        )
    if missing:
        package = _DEBIAN_PACKAGES.get(missing[1])
        todo = f"apt-get install {package}" if package else f"install the package that has it, or {_other(module)}"
        return f"{title} cannot be loaded: {missing[1]} is missing; {todo}"
    if f"No module named '{module}'" in reason:
        return f"{title} is not installed; {_install(module, extra)}"
    if "has no attribute" in reason:
        return f"{title} is incomplete, as if one of two packages of it was uninstalled; {_other(module)}"
    return f"{title} cannot be loaded ({first[:300]}); {_other(module)}"


def installed(names: Iterable[str]) -> dict[str, str]:
    """Versions of those of these packages that are installed."""
    from importlib.metadata import distributions  # takes long to load, and no help needs it

    found = {(one.metadata["Name"] or "").lower().replace("_", "-"): one.version for one in distributions()}
    return {name: found[name] for name in names if name in found}


def rivalry(module: str, packages: dict[str, str]) -> str | None:
    """Returns the advice for a module that two installed packages provide; None if at most one does."""
    wheels = [name for name in RIVAL_WHEELS[module] if name in packages]
    if len(wheels) < 2:
        return None
    return f"{' and '.join(wheels)} are both installed and overwrite each other's {module}; {_other(module)}"


def _culprit(error: Exception) -> str | None:
    """The top-level name of the module whose import failed; None if that is none of another package."""
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        return error.obj.__name__.split(".")[0]
    if isinstance(error, ImportError) and error.name:
        return error.name.split(".")[0]
    # A library that does not find others, or finds other versions than it was compiled for, raises any error. Then the
    # culprit is the last module that mmpnet imported.
    trace, culprit = error.__traceback__, None
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0]
        if module == "mmpnet":
            culprit = None
        elif culprit is None and module and module not in sys.stdlib_module_names:
            culprit = module
        trace = trace.tb_next
    return culprit


def _title(module: str) -> str:
    return _TITLES.get(module, module)


def _present(module: str) -> str:
    return " ".join(installed(RIVAL_WHEELS[module])) or RIVAL_WHEELS[module][0]


def _install(module: str, extra: str) -> str:
    """How to install a missing module."""
    return EITHER_OPENCV if module in RIVAL_WHEELS else f"pip install 'mmpnet[{extra}]'"


def _other(module: str) -> str:
    """How to replace a broken module."""
    if module not in RIVAL_WHEELS:
        return f"pip install --force-reinstall {module}"
    wheels = _present(module)
    keep = "pip install 'mmpnet[gpu]'" if "onnxruntime-gpu" in wheels else EITHER_OPENCV
    return f"pip uninstall {wheels}, then {keep}"
