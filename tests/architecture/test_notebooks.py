"""The notebooks of the documentation run, keep no outputs in git, and link to pages that exist."""

import re
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient.exceptions import CellExecutionError

from make_figures import FIGURES, images_of
from notebooks import NOTEBOOKS, executed

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
LINK = re.compile(r"\]\((?!https?://)([^)#\s]+)\)")


def names(path: Path) -> str:
    return path.stem


def test_both_notebooks_are_there() -> None:
    assert [path.stem for path in PATHS] == ["exercise", "own-camera"]


@pytest.mark.parametrize("path", PATHS, ids=names)
def test_no_output_is_in_git(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.parametrize("path", PATHS, ids=names)
def test_every_link_leads_to_a_file(path: Path) -> None:
    texts = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    links = [link for text in texts for link in LINK.findall(re.sub(r"\s+", "", text))]
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=names)
def test_every_cell_runs(path: Path) -> None:
    notebook = executed(path)
    figures = [name for name, png in images_of(notebook) if png]
    if path.stem == "exercise":
        assert {FIGURES / name for name in figures} == set(FIGURES.glob("*.jpg")), "run docs/site/make_figures.py"
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


def test_a_cell_that_fails_is_an_error(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(notebook, tmp_path / "bad.ipynb")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        executed(tmp_path / "bad.ipynb")
    # The kernel has ended with the notebook.
    assert not [child for child in psutil.Process().children() if "ipykernel_launcher" in " ".join(child.cmdline())]
