"""mmp-run: detect people in frames of cameras, streams and files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mmpnet.cli.run.settings import SECTIONS, run_settings
from mmpnet.console.command import HELP_NAMES, console, end_with, exit_on_error, explain_imports, show_version
from mmpnet.console.help import helpful
from mmpnet.console.log import start_log
from mmpnet.console.options import with_options
from mmpnet.runtime.inference.embedded import DEFAULT_MODEL, OTHER_NAMES

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)
EXAMPLES = (
    ("mmp-run --camera 0", "open a window with the first camera"),
    ("mmp-run street.mp4 --save out.mp4", "write a video with boxes"),
    ("mmp-run --camera 0 --line door=0,60%,100%,60% --serve 127.0.0.1:8000", "count at a door, on a web page"),
)


def use_config(context: typer.Context, value: Path | None) -> Path | None:
    """Callback of --config: the options of the file become the defaults of all others."""
    if value is not None:
        with exit_on_error():
            with explain_imports(extra="cpu"):
                from mmpnet.cli.run.site_options import use_site_file
            use_site_file(context, value)
    return value


@app.command(cls=helpful("--camera", "--source", "--save", "--json", "--serve", examples=EXAMPLES))
@with_options(SECTIONS)
def detect(
    context: typer.Context,
    _config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            callback=use_config,
            is_eager=True,
            help="A TOML file with options and cameras; options on the command line replace those of the file.",
        ),
    ] = None,
    print_config: Annotated[
        bool,
        typer.Option("--print-config", help="Print this command line as such a file, and exit."),
    ] = False,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] [SOURCE]...",
            help=f"MODEL: an ONNX file from mmp-export, or a model of this package: {OTHER_NAMES}; default: "
            f"{DEFAULT_MODEL}. SOURCE: the same as --source; a number is a camera.",
        ),
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test", help="Only check that the model gives the same detections here as when it was exported."
        ),
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
    *,
    options: dict[str, Any],
) -> None:
    """Detect people; show boxes in windows, files or a web page, or write them as NDJSON."""
    with exit_on_error():
        settings = run_settings(options)
        start_log(console(), settings.service.log_level)
        with explain_imports(extra="cpu"):
            from mmpnet.cli.run import runner
        if self_test:
            runner.self_test(context, words or (), settings)
        elif print_config:
            runner.print_config(context, words or (), settings)
        else:
            runner.start(context, words or (), settings)


def main() -> None:
    """Entry point of mmp-run."""
    end_with(app)
