"""What mmp-export makes of its options before it loads a checkpoint."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mmpnet.export.cli.checks import chosen_head, chosen_precision, parse_batch, recorded_command, target_of
from mmpnet.export.cli.command import app


def test_nms_is_the_head_of_that_name() -> None:
    assert chosen_head("boxes", None) == chosen_head("boxes", False) == "boxes"
    assert chosen_head("boxes", True) == chosen_head("nms", True) == "nms"
    assert chosen_head("grid", None) == "grid"


def test_a_compact_file_computes_in_float32() -> None:
    assert chosen_precision(half=False, int8=False, compact=True) == "float32"
    assert chosen_precision(half=True, int8=False, compact=False) == "float16"
    assert chosen_precision(half=False, int8=True, compact=False) == "int8"


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "Dynamic", ""])
def test_a_batch_is_a_positive_number_or_dynamic(text: str) -> None:
    assert (parse_batch("4"), parse_batch("dynamic")) == (4, "dynamic")
    with pytest.raises(typer.BadParameter, match="expected a number above 0, or dynamic"):
        parse_batch(text)


def test_the_file_has_the_name_of_the_checkpoint_by_default() -> None:
    assert target_of(Path("runs/best.pth"), None) == Path("runs/best.onnx")
    assert target_of(Path("runs/best.pth"), Path("a.ONNX")) == Path("a.ONNX")


def test_the_recorded_command_has_names_instead_of_paths(tmp_path: Path) -> None:
    (tmp_path / "val data").mkdir()
    words = [
        "/usr/bin/mmp-export",
        "/runs/best.pth",
        f"--verify={tmp_path / 'val data'}",
        "--data-license",
        "CC BY 4.0",
    ]
    assert recorded_command(words) == "mmp-export best.pth '--verify=val data' --data-license 'CC BY 4.0'"


@pytest.mark.parametrize("name", ["license", "licence"])
def test_options_of_licenses_are_taken_in_both_spellings(name: str) -> None:
    result = CliRunner().invoke(app, ["absent.pth", f"--data-{name}", "CC0", f"--weights-{name}", "CC0"])
    assert (result.exit_code, "absent.pth" in result.stderr) == (1, True)


def test_the_help_shows_one_spelling_of_an_option() -> None:
    shown = CliRunner().invoke(app, ["-h"]).stdout
    assert "--data-license" in shown
    assert "licence" not in shown
