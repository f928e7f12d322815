"""The drawn sample: the same in each call, and a data set without faults."""

from pathlib import Path

from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.sample import COUNTS, is_sample, write_sample
from mmpnet.datasets.splits import Split


def test_the_sample_is_a_data_set_with_people_and_empty_rooms(tmp_path: Path) -> None:
    write_sample(tmp_path / "sample")
    write_sample(tmp_path / "again" / "sample")
    assert is_sample(tmp_path / "sample")
    assert not is_sample(tmp_path)
    splits: tuple[Split, ...] = ("train", "val")
    for split in splits:
        dataset = load_dataset([tmp_path / "sample"], split)
        assert len(dataset.images) == COUNTS[split]
        assert {len(image.boxes_xyxy) for image in dataset.images} == {0, 1, 2, 3, 4}
        again = load_dataset([tmp_path / "again" / "sample"], split)
        assert again.sha256 == dataset.sha256
        image, same = dataset.images[0], again.images[0]
        assert image.path.read_bytes() == same.path.read_bytes()
        x1, y1, x2, y2 = image.boxes_xyxy[0].astype(int)
        pixels = image.read().astype(int)
        assert abs(pixels[y1:y2, x1:x2].mean(axis=(0, 1)) - pixels.mean(axis=(0, 1))).max() > 5
