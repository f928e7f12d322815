"""What mmp-export does with a request."""

import typer

from mmpnet.console.command import console
from mmpnet.console.progress import progress_bar
from mmpnet.contract.errors import ExportError
from mmpnet.export.cli.summary import summary_lines
from mmpnet.export.steps import ExportRequest, check_request, export_checkpoint


def export_and_report(request: ExportRequest) -> None:
    """Write the file, and show what was written and checked.

    Raises: typer.BadParameter for options that do not go together; ExportError also if int8 was not kept.
    """
    try:
        check_request(request)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    metadata = export_checkpoint(request, progress=progress_bar, notice=console().print)
    for line in summary_lines(request.target, metadata):
        console().print(line)
    if metadata.quantization is not None and not metadata.quantization.kept:
        raise ExportError(
            f"{request.target}: is in float32, because int8 was not kept: {metadata.quantization.verdict}"
        )
