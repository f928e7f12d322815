"""Checkpoints open without running code, state their origin, and are never half written."""

import random
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from mmpnet.contract.errors import CheckpointError, OutputError
from mmpnet.train.artifacts.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, sha256_of


def test_round_trip_keeps_every_weight_and_word(tiny_checkpoint: Path, tmp_path: Path) -> None:
    first = load_checkpoint(tiny_checkpoint)
    save_checkpoint(tmp_path / "again.pth", first)
    second = load_checkpoint(tmp_path / "again.pth")
    assert (first.model, first.train, first.provenance) == (second.model, second.train, second.provenance)
    for name, tensor in first.ema.items():
        assert torch.equal(tensor, second.ema[name])


def test_torch_opens_it_without_pickled_code(tiny_checkpoint: Path) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    assert content["format"] == "mmpnet-checkpoint"
    assert content["model"]["sizes_px"] == (16.0, 40.0) or content["model"]["sizes_px"] == [16.0, 40.0]


def test_a_failed_write_keeps_the_old_file(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    path = tmp_path / "last.pth"
    save_checkpoint(path, checkpoint)
    before = sha256_of(path)

    def full_disk(_: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(path, checkpoint)
    assert sha256_of(path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.pth"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not an mmpnet checkpoint"),
        ({"schema": 99}, "schema 99"),
        ({"model": {"stride": 8}}, "ModelConfig"),
        ({"model": 3}, "ModelConfig"),
        ({"ema": {}}, "damaged"),
        ({"progress": 7}, "Progress"),
        ({"progress": {"epoch": "one"}}, "Progress"),
    ],
)
def test_what_is_not_a_checkpoint_is_one_clear_line(
    tiny_checkpoint: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    content.update(changes)
    path = tmp_path / "spoilt.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert "spoilt.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_torch_cannot_open(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "short.pth").write_bytes(tiny_checkpoint.read_bytes()[:2000])
    torch.save(torch.nn.Linear(1, 1), tmp_path / "pickle.pth")
    torch.save([1], tmp_path / "list.pth")
    (tmp_path / "empty.pth").touch()
    damaged = bytearray(tiny_checkpoint.read_bytes())
    damaged[200:4000] = bytes(3800)
    (tmp_path / "damaged.pth").write_bytes(damaged)
    found = {
        "absent.pth": "no such file",
        "text.pth": "is not a file of torch.save",
        "short.pth": "is cut short",
        "pickle.pth": "holds Python objects beside tensors, which could run code and are not opened",
        "list.pth": "holds a list",
        "empty.pth": "is empty",
        "damaged.pth": r"is damaged \(.+\)",
    }
    for name, what in found.items():
        with pytest.raises(CheckpointError, match=f"{name}: {what}.* expected ") as caught:
            load_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_deployable_network_is_in_evaluation_mode(tiny_checkpoint: Path) -> None:
    checkpoint: Checkpoint = load_checkpoint(tiny_checkpoint)
    assert not checkpoint.network().training


def places_of_entries(archive: Path) -> list[range]:
    """Where the content of each entry of a zip file is; between them are headers and padding."""
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as parts:
        entries = parts.infolist()
    starts = [
        entry.header_offset + 30 + sum(struct.unpack_from("<HH", content, entry.header_offset + 26))
        for entry in entries
    ]
    return [range(start, start + entry.compress_size) for start, entry in zip(starts, entries, strict=True)]


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bits_in_a_checkpoint_are_noticed(seed: int, tiny_checkpoint: Path, tmp_path: Path) -> None:
    damaged, generator = bytearray(tiny_checkpoint.read_bytes()), random.Random(seed)
    places = places_of_entries(tiny_checkpoint)
    place = generator.choice(generator.choices(places, [len(one) for one in places])[0])
    damaged[place] ^= 1 << generator.randrange(8)
    path = tmp_path / "damaged.pth"
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"damaged\.pth: is damaged"):
        load_checkpoint(path)
