"""Open and run ONNX Runtime sessions; a requested provider that does not start is an error."""

import logging
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import ContractError, DeviceError, first_line
from mmpnet.contract.seal import check_seal
from mmpnet.contract.text import counted
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS
from mmpnet.runtime.inference.providers import PROVIDER_NAMES, Provider
from mmpnet.system.files import is_file
from mmpnet.system.machine import usable_cores
from mmpnet.system.onnx_runtime import onnxruntime

_FATAL_ONLY = 4
MOST_MODEL_BYTES = 2**31 - 1
"""The largest protobuf message, and so the largest ONNX file."""
MOST_ENTRIES, MOST_CHARACTERS = 1_000, 2_000_000
"""Limits of all metadata properties of an untrusted file together; files of mmp-export have less than 20 entries."""


def open_session(path: Path, *, provider: Provider = "auto", threads: int = 0, spin: bool = True) -> Any:
    """Open an onnxruntime.InferenceSession on one provider.

    provider `auto`: CUDA if it really starts, else the CPU. threads 0: ONNX Runtime's default, or the number of cores
    that this process may use if that is smaller. `spin` False lets threads sleep between paced frames instead of
    occupying their cores.

    Raises: ContractError if the file is missing or not a model, DeviceError if the provider is unknown or not
    available, ValueError for a negative number of threads.
    """
    if provider != "auto" and provider not in PROVIDER_NAMES:
        raise DeviceError(f"provider must be auto, {', '.join(PROVIDER_NAMES)}; got {provider!r}")
    if threads < 0:
        raise ValueError(f"threads must be 0 or more, 0 for all that may be used; got {threads}")
    if not is_file(path):
        nearest = get_close_matches(path.name, EMBEDDED_MODELS, n=1)
        raise ContractError(
            f"{path}: no such model file{f', did you mean {nearest[0]}?' if nearest else ''}; expected an ONNX file "
            f"that mmp-export wrote, or {' or '.join(EMBEDDED_MODELS)}"
        )
    if path.suffix.lower() == ".pth":
        raise ContractError(f"{path}: is a checkpoint, not a model file; run mmp-export on it first")
    size = path.stat().st_size
    if size > MOST_MODEL_BYTES:
        raise ContractError(
            f"{path}: has {size / 1e9:.1f} GB, and an ONNX file at most 2.1 GB; expected a file that mmp-export wrote"
        )
    check_seal(path)
    if provider != "auto":
        return _start(path, provider, threads=threads, spin=spin)
    if PROVIDER_NAMES["cuda"] in onnxruntime.get_available_providers():
        try:
            return _start(path, "cuda", threads=threads, spin=spin)
        except DeviceError as reason:
            logging.getLogger(__name__).warning("%s; using the CPU", reason)
    return _start(path, "cpu", threads=threads, spin=spin)


def read_properties(session: Any, *, source: str) -> dict[str, str]:
    """The metadata properties of the session's file. Raises: ContractError if they are not text, or too many."""
    try:
        properties: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ContractError(f"{source}: its metadata is damaged ({error.reason}); copy the file again") from error
    characters = sum(map(len, properties)) + sum(map(len, properties.values()))
    if len(properties) > MOST_ENTRIES or characters > MOST_CHARACTERS:
        raise ContractError(
            f"{source}: its metadata has {counted(len(properties), 'entry')} and {counted(characters, 'character')}, "
            f"expected at most {MOST_ENTRIES} and {MOST_CHARACTERS}; use a file that mmp-export wrote"
        )
    return properties


def run_session(session: Any, outputs: list[str], feed: dict[str, Any], *, source: str) -> list[Any]:
    """Run one inference. Raises: ContractError if the graph fails, for example if it is damaged or too large."""
    try:
        found: list[Any] = session.run(outputs, feed)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ContractError(
            f"{source}: ONNX Runtime {onnxruntime.__version__} cannot run it ({first_line(error)}); "
            "export it again with mmp-export"
        ) from error
    return found


def provider_in_use(session: Any) -> str:
    """Short name of the session's first provider, such as `cpu`."""
    first = session.get_providers()[0]
    return next((short for short, name in PROVIDER_NAMES.items() if name == first), str(first))


def _all_allowed() -> int:
    """0 for ONNX Runtime's default, or the number of allowed cores if this process may not use all: ONNX Runtime would
    count all cores, and bind its threads to forbidden ones."""
    usable = usable_cores()
    return 0 if usable >= (os.cpu_count() or 1) else max(int(usable), 1)


def _start(path: Path, provider: Provider, *, threads: int, spin: bool) -> Any:
    wanted = PROVIDER_NAMES[provider]
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        here = ", ".join(short for short, name in PROVIDER_NAMES.items() if name in available)
        raise DeviceError(
            f"provider {provider} was requested, but this onnxruntime {onnxruntime.__version__} has only {here}; "
            f"use --provider {here.split(', ', 1)[0]}, or install a package that has it (mmpnet[gpu] for cuda)"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads or _all_allowed()
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    # Nodes that an accelerator cannot run go to the CPU, so the CPU is second in the list; it must not be first.
    providers = [wanted] if provider == "cpu" else [wanted, PROVIDER_NAMES["cpu"]]
    try:
        # ONNX Runtime's own fallback would continue on the CPU, even during a run, and print to stdout.
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
        session.disable_fallback()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        if provider == "cpu":
            raise ContractError(
                f"{path}: ONNX Runtime {onnxruntime.__version__} cannot load it ({reason}); "
                "expected an ONNX file that mmp-export wrote"
            ) from error
        raise DeviceError(
            f"provider {provider} was requested and did not start ({reason}); install its driver and libraries, or use "
            "--provider cpu"
        ) from error
    if session.get_providers()[0] != wanted:
        raise DeviceError(
            f"provider {provider} was requested, but ONNX Runtime fell back to {provider_in_use(session)}; "
            "install its driver and libraries, or use --provider cpu"
        )
    return session
