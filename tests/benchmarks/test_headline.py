"""The README's headline table is the committed result, to the digit."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from mmpnet.contract.errors import MmpnetError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def headline() -> ModuleType:
    """benchmarks/headline.py."""
    spec = importlib.util.spec_from_file_location("headline", ROOT / "benchmarks" / "headline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_has_the_newest_results_table(headline: ModuleType) -> None:
    text, path = (ROOT / "README.md").read_text(), headline.newest_result()
    assert headline.with_table(text, headline.table(json.loads(path.read_text()), path)) == text, (
        "run python benchmarks/headline.py"
    )


def test_another_number_is_noticed(headline: ModuleType) -> None:
    text, path = (ROOT / "README.md").read_text(), headline.newest_result()
    result = json.loads(path.read_text())
    result["contestants"]["person-320"]["AP50"] += 0.001
    assert headline.with_table(text, headline.table(result, path)) != text


def row(ms: float, ap: float | None, **further: object) -> dict[str, object]:
    """A contestant's row as peers.py writes it, as far as the table reads it."""
    times = {"end_to_end_ms": ms, "infer_ms": ms - 0.5}
    return {"family": "NanoDet", "AP": ap, "AP50": ap, "size_bytes": 9_700_000, "one thread": times, **further}


def shown(headline: ModuleType, **contestants: dict[str, object]) -> list[str]:
    """The lines of a table of these."""
    machine = {"cpu": "a CPU", "instruction_sets": ["AVX2"], "onnxruntime": "1.31"}
    data = {"pictures": 593, "split": "val"}
    result = {"data": data, "frame": "1280x720", "rounds": 9, "machine": machine, "contestants": contestants}
    lines: list[str] = headline.table(result, headline.RESULTS / "2026-01-01-peers-x.json").splitlines()
    return lines


def test_what_was_only_timed_has_dashes_and_a_sentence(headline: ModuleType) -> None:
    lines = shown(headline, nanodet=row(12.04, 0.3), yolo=row(7.0, None, note="no accuracy: timed only"))
    assert lines[2:4] == ["| yolo | 7.0 | – | – | 9.7 |", "| nanodet | 12.0 | 0.300 | 0.300 | 9.7 |"]
    assert "A dash: accuracy not measured, only time (yolo)." in lines[-1]
    assert "--peers PEERS --timed yolo.onnx`" in lines[-1]


def test_peers_that_an_earlier_version_quantized_are_left_out(headline: ModuleType) -> None:
    lines = shown(headline, nanodet=row(12.0, 0.3), **{"nanodet-int8": row(8.0, 0.29, made_from="nanodet")})
    assert not any("nanodet-int8" in line for line in lines)
    assert lines[2] == "| nanodet | 12.0 | 0.300 | 0.300 | 9.7 |"


def test_a_result_with_all_accuracies_has_no_remarks(headline: ModuleType) -> None:
    said = shown(headline, nanodet=row(12.0, 0.3))[-1]
    assert "dash" not in said
    assert "`python benchmarks/peers.py --data DATA --peers PEERS`" in said


def test_a_readme_without_marks_is_refused(headline: ModuleType) -> None:
    with pytest.raises(MmpnetError, match="has no lines"):
        headline.with_table("# mmpnet\n", "table")
