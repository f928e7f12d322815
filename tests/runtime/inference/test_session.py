"""A session uses the requested provider, or raises an error that names it; it never silently uses another one."""

import os
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import pytest

from mmpnet.contract.errors import ContractError, DeviceError
from mmpnet.runtime.inference import session
from mmpnet.runtime.inference.providers import PROVIDER_NAMES, Provider
from mmpnet.runtime.inference.session import open_session, provider_in_use

CPU, CUDA = PROVIDER_NAMES["cpu"], PROVIDER_NAMES["cuda"]


class FakeSession:
    """Replaces onnxruntime.InferenceSession: starts those of the requested providers that are in `starting`."""

    starting: Sequence[str] = (CPU,)
    asked: list[list[str]]
    options: list[onnxruntime.SessionOptions]

    def __init__(
        self, _: str, options: onnxruntime.SessionOptions, *, providers: list[str], enable_fallback: int = 1
    ) -> None:
        assert enable_fallback == 0, "ONNX Runtime would go on with the CPU by itself"
        self.asked.append(providers)
        self.options.append(options)
        self._providers = [name for name in providers if name in self.starting]

    def get_providers(self) -> list[str]:
        return self._providers

    def disable_fallback(self) -> None:
        """As onnxruntime has it, for errors during a run."""


@pytest.fixture
def fake_session(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    """An onnxruntime that lists CUDA and the CPU, and starts only the CPU."""
    session = type("FakeSession", (FakeSession,), {"asked": [], "options": []})
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    return session


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Any file, as the fake session does not read it."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    return path


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "openvino"])
def test_an_absent_provider_is_an_error_that_names_it_and_those_present(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, provider: Provider
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider", CPU])
    with pytest.raises(DeviceError, match=rf"provider {provider} was requested.* has only cpu; use --provider cpu"):
        open_session(tiny_onnx, provider=provider)


def test_a_silent_fallback_to_the_cpu_is_an_error(fake_session: type[FakeSession], model: Path) -> None:
    with pytest.raises(DeviceError, match=r"provider cuda was requested.* fell back to cpu.*--provider cpu"):
        open_session(model, provider="cuda")
    assert fake_session.asked == [[CUDA, CPU]]


def test_a_provider_that_fails_to_start_is_an_error_with_its_reason(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("libcudnn.so.9:\ncannot open shared object file")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    with pytest.raises(DeviceError, match=r"provider cuda .*libcudnn\.so\.9: cannot open"):
        open_session(model, provider="cuda")


def test_a_provider_that_starts_is_used(fake_session: type[FakeSession], model: Path) -> None:
    fake_session.starting = (CUDA, CPU)
    assert provider_in_use(open_session(model, provider="cuda")) == "cuda"
    assert provider_in_use(open_session(model, provider="auto")) == "cuda"
    assert provider_in_use(open_session(model, provider="cpu")) == "cpu"
    assert fake_session.asked[-1] == [CPU]


def test_auto_takes_the_cpu_where_cuda_does_not_start(fake_session: type[FakeSession], model: Path) -> None:
    assert provider_in_use(open_session(model, provider="auto")) == "cpu"
    assert fake_session.asked == [[CUDA, CPU], [CPU]]


def test_auto_is_the_cpu_where_there_is_no_cuda(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider", CPU])
    session = open_session(tiny_onnx, provider="auto", threads=1)
    assert provider_in_use(session) == "cpu"
    assert session.get_providers() == [CPU]


@pytest.mark.parametrize(
    ("threads", "usable", "spin", "expected", "chosen"),
    [(3, 8, True, "1", 3), (0, 8, False, "0", 0), (0, 3, True, "1", 3), (0, 1.5, True, "1", 1), (0, 0.5, True, "1", 1)],
)
def test_threads_and_spinning_reach_the_session(
    fake_session: type[FakeSession],
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    usable: float,
    spin: bool,
    expected: str,
    chosen: int,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(session, "usable_cores", lambda: usable)
    open_session(model, provider="cpu", threads=threads, spin=spin)
    assert fake_session.options[0].intra_op_num_threads == chosen
    assert fake_session.options[0].get_session_config_entry("session.intra_op.allow_spinning") == expected


@pytest.mark.parametrize("provider", ["auto", "cpu"])
@pytest.mark.parametrize("content", [b"", b"just some words", b"\x08\x07\x12"])
def test_a_file_that_is_not_a_model_is_a_contract_error(tmp_path: Path, provider: Provider, content: bytes) -> None:
    path = tmp_path / "words.onnx"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=r"cannot load it.*mmp-export") as caught:
        open_session(path, provider=provider)
    assert str(path) in str(caught.value)


def test_a_model_cut_short_is_a_contract_error(tmp_path: Path, tiny_onnx: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(tiny_onnx.read_bytes()[: tiny_onnx.stat().st_size // 2])
    with pytest.raises(ContractError, match=r"cut\.onnx"):
        open_session(path, provider="cpu")


@pytest.mark.parametrize("name", ["gone.onnx", "", "a" * 300 + ".onnx"])
def test_an_absent_model_is_a_contract_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ContractError, match="no such model file") as caught:
        open_session(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_settings_that_cannot_be_are_named(model: Path) -> None:
    with pytest.raises(DeviceError, match=r"provider must be auto, cpu, .* got 'gpu'"):
        open_session(model, provider="gpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"threads must be 0 or more.* got -1"):
        open_session(model, provider="cpu", threads=-1)


def test_a_checkpoint_is_not_a_model_file(tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(b"PK")
    with pytest.raises(
        ContractError, match=r"best\.pth: is a checkpoint, not a model file; run mmp-export on it first"
    ):
        open_session(tmp_path / "best.pth")
