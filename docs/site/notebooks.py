"""Run the notebooks of the documentation, and turn them into pages."""

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LONGEST_S = 600


def executed(path: Path) -> Any:
    """The notebook with its outputs, run in its folder. Raises: CellExecutionError if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    with tempfile.TemporaryDirectory() as sockets:
        # Messages go through sockets of this folder, so that no port is open to others on the machine.
        manager = AsyncKernelManager(transport="ipc", ip=f"{sockets}/kernel", kernel_name="python3")
        client = NotebookClient(notebook, km=manager, timeout=LONGEST_S, startup_timeout=LONGEST_S, resources=place)
        try:
            client.execute()
        finally:
            if manager.has_kernel:  # the client stops only kernels of its own manager
                run_sync(manager.shutdown_kernel)(now=True)
    return notebook


def page_of(path: Path, source: str) -> tuple[str, dict[str, bytes]]:
    """The executed notebook as Markdown, and its images by their names beside the page.

    source: address of the notebook, for a link to download it.
    """
    from nbconvert.exporters import MarkdownExporter

    folder = f"{path.stem}_files"
    markdown, resources = MarkdownExporter().from_notebook_node(executed(path), {"output_files_dir": folder})
    title, _, rest = str(markdown).strip().partition("\n")
    images: dict[str, bytes] = resources["outputs"]
    return f"{title}\n\n[Download this notebook]({source})\n{rest}\n", images
