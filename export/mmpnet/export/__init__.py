"""Exporting, as a function:

    from mmpnet.export import ExportOptions, export

The names are imported at first use, as they need torch.
"""

from typing import TYPE_CHECKING

from mmpnet.contract.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmpnet.export.api import export as export
    from mmpnet.export.metadata_builder import ExportOptions as ExportOptions

__all__ = ["ExportOptions", "export"]
__getattr__, __dir__ = lazy_names(
    __name__, {"ExportOptions": "mmpnet.export.metadata_builder", "export": "mmpnet.export.api"}
)
