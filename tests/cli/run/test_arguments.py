"""The words of mmp-run: which one is the model, and which ones are sources."""

from pathlib import Path

import pytest
import typer

from mmpnet.cli.run.arguments import model_and_sources


@pytest.mark.parametrize(
    ("words", "model", "sources"),
    [
        ([], None, []),
        (["person-320-int8"], "person-320-int8", []),
        (["video.mp4"], None, ["video.mp4"]),
        (["0"], None, ["0"]),
        (["mine.onnx", "a.JPG", "b.png"], "mine.onnx", ["a.JPG", "b.png"]),
        (["a.jpg", "mine.ONNX"], "mine.ONNX", ["a.jpg"]),
        (["rtsp://10.0.0.3/live"], None, ["rtsp://10.0.0.3/live"]),
        (["images/*.jpg", "/dev/video0"], None, ["images/*.jpg", "/dev/video0"]),
        (["https://host/mine.onnx"], "https://host/mine.onnx", []),
        (["person-32"], "person-32", []),
        (["best.pth"], "best.pth", []),
    ],
)
def test_words_are_sorted(words: list[str], model: str | None, sources: list[str]) -> None:
    assert model_and_sources(words) == (model, sources)


def test_a_folder_is_a_source(tmp_path: Path) -> None:
    assert model_and_sources([str(tmp_path)]) == (None, [str(tmp_path)])


def test_two_models_are_refused() -> None:
    with pytest.raises(typer.BadParameter, match=r"a\.onnx and b\.onnx are both taken for models"):
        model_and_sources(["a.onnx", "0", "b.onnx"])
