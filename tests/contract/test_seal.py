"""A changed file is detected; a file without a hash opens as before."""

import random
from pathlib import Path

import onnx
import pytest

from mmpnet.contract.errors import ContractError, MmpnetError
from mmpnet.contract.seal import SEAL_KEY, check_seal, seal
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS, model_path
from mmpnet.runtime.inference.session import open_session
from support.onnx_files import save_unsealed


def test_an_exported_file_states_its_hash_and_is_still_a_model(tiny_onnx: Path) -> None:
    check_seal(tiny_onnx)
    model = onnx.load(tiny_onnx)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props].count(SEAL_KEY) == 1


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_files_of_before_are_opened(name: str) -> None:
    check_seal(model_path(name))


def test_a_file_without_a_hash_is_taken_as_it_is(tiny_onnx: Path, tmp_path: Path) -> None:
    save_unsealed(onnx.load(tiny_onnx), tmp_path / "plain.onnx")
    Detector(tmp_path / "plain.onnx", provider="cpu", threads=1)


@pytest.mark.parametrize("field", ["graph", "producer_name", "metadata"])
def test_a_change_of_any_field_is_noticed(field: str, tiny_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_onnx)
    if field == "graph":
        model.graph.name += "x"
    elif field == "metadata":
        model.metadata_props[0].value += " "
    else:
        model.producer_name += "x"
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(ContractError, match=r"changed\.onnx: the file is damaged or was changed after its export"):
        open_session(tmp_path / "changed.onnx", provider="cpu")


def test_two_hashes_are_none(tmp_path: Path) -> None:
    path = tmp_path / "twice.onnx"
    path.write_bytes(seal(seal(b"\x08\x07")))
    with pytest.raises(ContractError, match="is damaged or was changed"):
        check_seal(path)


@pytest.mark.parametrize("flipped", [1, 3])
def test_of_many_damaged_files_none_is_taken_for_whole(flipped: int, tiny_onnx: Path, tmp_path: Path) -> None:
    """Bits all over the file, except those that only change the hash's own name: these leave graph, weights and
    metadata unchanged."""
    content, generator = tiny_onnx.read_bytes(), random.Random(flipped)
    own = content.rindex(SEAL_KEY.encode())
    path = tmp_path / "damaged.onnx"
    for _ in range(300):
        damaged = bytearray(content)
        places = [generator.randrange(8 * own) for _ in range(flipped)]
        for place in places:
            damaged[place // 8] ^= 1 << place % 8
        if damaged == content:
            continue
        path.write_bytes(damaged)
        with pytest.raises(MmpnetError):
            open_session(path, provider="cpu")


def test_a_file_that_is_cut_is_noticed(tiny_onnx: Path, tmp_path: Path) -> None:
    content, path = tiny_onnx.read_bytes(), tmp_path / "cut.onnx"
    for left in (len(content) - 1, len(content) // 2, 100, 1):
        path.write_bytes(content[:left])
        with pytest.raises(MmpnetError):
            open_session(path, provider="cpu")


def resealed(tiny_onnx: Path, path: Path, entries: dict[str, str]) -> Path:
    """Write the model with more metadata, and a seal that fits."""
    model = onnx.load(tiny_onnx)
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != SEAL_KEY}
    onnx.helper.set_model_props(model, kept | entries)
    path.write_bytes(seal(model.SerializeToString()))
    return path


HUGE = {
    "one entry": ({"note": "x" * 10_000_000}, r"its metadata has \d+ entries and 100\d+ characters, expected at most"),
    "our entry": ({"mmpnet": '{"note": "' + "x" * 10_000_000 + '"}'}, "its metadata has"),
    "many entries": ({f"k{number}": "" for number in range(100_000)}, r"its metadata has 10000\d entries and"),
    "unknown names": ({"mmpnet": '{"schema_version": 3, "' + "x" * 900_000 + '": 1}'}, "metadata does not fit"),
    "nested": ({"mmpnet": "[" * 900_000}, "metadata is not valid"),
}


@pytest.mark.parametrize(("entries", "reason"), HUGE.values(), ids=HUGE)
def test_huge_metadata_under_a_seal_that_fits_is_refused_in_a_short_line(
    entries: dict[str, str], reason: str, tiny_onnx: Path, tmp_path: Path
) -> None:
    path = resealed(tiny_onnx, tmp_path / "huge.onnx", entries)
    check_seal(path)
    with pytest.raises(ContractError, match=reason) as error:
        Detector(path, provider="cpu", threads=1)
    assert len(str(error.value)) < 1000
    assert "\n" not in str(error.value)


def test_a_file_larger_than_any_model_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(60_000_000_000)
    with pytest.raises(ContractError, match=r"has 60\.0 GB, and an ONNX file at most 2\.1 GB"):
        open_session(path, provider="cpu")
