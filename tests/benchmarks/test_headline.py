"""The tables of models in the README and in docs/MEASUREMENTS.md equal the committed result exactly."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.peers.headline import RESULTS, headline_table, newest_result, read_result, short_text, with_table
from mmpnet.contract.errors import MmpnetError

ROOT = Path(__file__).parents[2]
SETS = ("elsewhere/val.json", "elsewhere/val.json: coco", "person/val.json")


def test_the_pages_have_the_tables_of_the_newest_result() -> None:
    path = newest_result()
    document = read_result(path)
    readme, measurements = ROOT / "README.md", ROOT / "docs" / "MEASUREMENTS.md"
    for page, table in (
        (readme, short_text(document, path)),
        (measurements, headline_table(document, path, measurements.parent)),
    ):
        assert with_table(page.read_text(), table) == page.read_text(), "run python benchmarks/headline.py"


def test_another_number_is_noticed() -> None:
    text, path = (ROOT / "README.md").read_text(), newest_result()
    document = read_result(path)
    numbers = next(iter(document["contestants"]["person-320"]["accuracy"].values()))
    numbers["AP50"] += 0.001
    assert with_table(text, short_text(document, path)) != text


def row(ms: float, *aps: float | None, **further: object) -> dict[str, object]:
    """A contestant's row in the format of peers.py, with what the table reads, and an AP for each of SETS."""
    times = {"end_to_end_ms": ms, "infer_ms": ms - 0.5}
    accuracy = {name: {"AP50": ap, "AP": ap} for name, ap in zip(SETS, aps, strict=False)}
    return {"family": "NanoDet", "accuracy": accuracy, "size_bytes": 9_700_000, "one thread": times, **further}


def document_of(**contestants: dict[str, object]) -> dict[str, Any]:
    """A document of peers.py with these rows."""
    sets = [
        {"name": name, "set": name.partition(":")[0], "part": name.partition(": ")[2] or None, "images": count}
        for name, count in zip(SETS, (255, 144, 593), strict=True)
    ]
    machine = {"cpu": "a CPU", "instruction_sets": ["AVX2"], "onnxruntime": "1.31"}
    return {"sets": sets, "frame": "1280x720", "rounds": 9, "machine": machine, "contestants": contestants}


def lines_of(**contestants: dict[str, object]) -> list[str]:
    """The lines of the table of these rows."""
    return headline_table(document_of(**contestants), RESULTS / "2026-01-01-peers-x.json").splitlines()


def test_every_set_has_a_column() -> None:
    lines = lines_of(nanodet=row(12.04, 0.3, 0.2, 0.4))
    assert lines[0] == (
        "| model | ms | elsewhere/val.json, AP50 / AP | elsewhere/val.json: coco, AP50 / AP "
        "| person/val.json, AP50 / AP | MB |"
    )
    assert lines[2] == "| nanodet | 12.0 | 0.300 / 0.300 | 0.200 / 0.200 | 0.400 / 0.400 | 9.7 |"
    assert "elsewhere/val.json (255), elsewhere/val.json: coco (144), person/val.json (593)" in " ".join(lines)
    sets = "--data elsewhere/val.json --data person/val.json"
    command = f"benchmarks/peers.py {sets} --peers PEERS --by-source elsewhere/val.json`"
    assert command in " ".join(lines)


def test_what_was_only_timed_has_dashes_and_a_sentence() -> None:
    lines = lines_of(nanodet=row(12.04, 0.3, None, 0.3), yolo=row(7.0, note="no accuracy: timed only"))
    assert lines[2:4] == [
        "| yolo | 7.0 | – | – | – | 9.7 |",
        "| nanodet | 12.0 | 0.300 / 0.300 | – / – | 0.300 / 0.300 | 9.7 |",
    ]
    assert "A dash: accuracy not measured, only time (yolo)." in " ".join(lines)
    assert "--by-source elsewhere/val.json --timed yolo.onnx`" in " ".join(lines)


def test_a_result_with_all_accuracies_has_no_remarks() -> None:
    assert "dash" not in " ".join(lines_of(nanodet=row(12.0, 0.3, 0.3, 0.3)))


def test_results_of_one_set_are_still_read(tmp_path: Path) -> None:
    """Older results with a single set have accuracies in the rows; rows with `made_from` are left out."""
    times = {"one thread": {"end_to_end_ms": 12.0, "infer_ms": 11.0}, "family": "NanoDet", "size_bytes": 9_700_000}
    contestants = {
        "nanodet": {**times, "AP": 0.3, "AP50": 0.5},
        "nanodet-int8": {**times, "AP": 0.3, "AP50": 0.5, "made_from": "nanodet"},
        "yolo": {**times, "AP": None, "AP50": None, "note": "no accuracy"},
    }
    machine = {"cpu": "a CPU", "instruction_sets": ["AVX2"], "onnxruntime": "1.31"}
    old = {"data": {"pictures": 593, "split": "val"}, "frame": "1280x720", "rounds": 9, "machine": machine}
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**old, "contestants": contestants}))
    lines = headline_table(read_result(path), RESULTS / "old.json").splitlines()
    assert lines[0] == "| model | ms | val.json, AP50 / AP | MB |"
    assert lines[2:4] == ["| nanodet | 12.0 | 0.500 / 0.300 | 9.7 |", "| yolo | 12.0 | – | 9.7 |"]
    assert not any("nanodet-int8" in line for line in lines)


def test_a_readme_without_marks_is_refused() -> None:
    with pytest.raises(MmpnetError, match="has no lines"):
        with_table("# mmpnet\n", "table")


def test_the_readme_names_the_models_that_are_better_and_how_fast_they_are() -> None:
    ours = {"family": "mmpnet"}
    contestants = {"ours": row(9.0, 0.5, **ours), "fast": row(5.0, 0.4, **ours), "a": row(8.0, 0.6), "b": row(7, 0.7)}
    text = " ".join(short_text(document_of(**contestants), RESULTS / "2026-01-01-peers-x.json").split())
    assert (
        "Better on elsewhere/val.json, by AP50, than all models of mmpnet:** b and a. All of them are slower than fast."
        in text
    )
    assert "| elsewhere/val.json, AP50 / AP | its part coco, AP50 / AP |" in text
    assert "--by-source elsewhere/val.json" in text
    assert "](benchmarks/results/2026-01-01-peers-x.png)" in text


def test_the_readme_says_so_if_no_model_is_better() -> None:
    text = short_text(document_of(ours=row(9.0, 0.5, family="mmpnet"), a=row(8.0, 0.4)), RESULTS / "x.json")
    assert "No other model in the table has a higher AP50 than ours" in text
