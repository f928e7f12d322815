"""The README's headline table is the committed result, to the digit."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from mmpnet.contract.errors import MmpnetError

ROOT = Path(__file__).parents[1]


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


def test_a_readme_without_marks_is_refused(headline: ModuleType) -> None:
    with pytest.raises(MmpnetError, match="has no lines"):
        headline.with_table("# mmpnet\n", "table")
