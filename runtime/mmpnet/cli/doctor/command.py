"""mmp-doctor: report what works on this machine, what does not, and what to do about it."""

import sys
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from mmpnet.cli.doctor.examine import Report, examine
from mmpnet.console.command import HELP_NAMES, console, exit_on_error, results, show_version
from mmpnet.console.help import helpful
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)

EXAMPLES = (
    ("mmp-doctor", "test the models of this package, the window and the cameras"),
    ("mmp-doctor person.onnx --no-cameras", "test your own file, and leave the cameras alone"),
    ("mmp-doctor > report.txt", "keep the report, for example to send it with a question"),
)


@app.command(cls=helpful("--cameras", "--json", examples=EXAMPLES))
def doctor(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="ONNX files from mmp-export to test; default: the models in this package."),
    ] = None,
    cameras: Annotated[bool, typer.Option(help="Open each camera and measure its frame rate.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Test models, window and cameras on this machine; the exit code is 1 if something does not work."""
    with exit_on_error():
        with console().status("looking"):
            report = examine(models or EMBEDDED_MODELS, look_at_cameras=cameras)
        if as_json:
            sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        else:
            _show(report)
    if not report.healthy:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    machine = report.machine
    table = Table(show_header=False, box=None)
    table.add_row("processor", machine.cpu)
    table.add_row("instructions", ", ".join(machine.instruction_sets) or "unknown")
    table.add_row("usable cores", f"{machine.usable_cores:g}")
    table.add_row("system", f"{machine.system}, Python {machine.python}")
    table.add_row("packages", ", ".join(f"{name} {version}" for name, version in machine.packages.items()))
    table.add_row("sent unasked", machine.sent_unasked)
    for session in report.sessions:
        works = session.fault or f"self-test passed, {session.infer_ms:g} ms"
        table.add_row(f"{session.model} on {session.provider}", works)
    table.add_row("video decoder", report.video_fault or "self-test passed")
    table.add_row("window", report.no_window or "opens")
    for camera in report.cameras or ():
        mode = f"{camera.width}x{camera.height}, states {camera.stated_fps:g} frames per second, gives "
        rate = "one frame" if camera.measured_fps is None else f"{camera.measured_fps:g}"
        works = camera.fault or f"{mode}{rate}, the first after {camera.first_frame_ms:g} ms"
        table.add_row(camera.name, works)
    shown = results()
    shown.print(table)
    for title, lines in (("does not work", report.faults), ("advice", report.advice)):
        for line in lines:
            shown.print(f"{title}: {line}")


def main() -> None:
    """Entry point of mmp-doctor."""
    app()
