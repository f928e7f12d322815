"""mmp-adapt: adapt a model to one camera, and replace nothing unless the new one is proven better."""

from pathlib import Path
from typing import Annotated

import typer

from mmpnet.console.command import HELP_NAMES, console, exit_on_error, explain_imports, results, show_version
from mmpnet.console.help import helpful
from mmpnet.console.progress import progress_bar
from mmpnet.runtime.inference.embedded import OTHER_NAMES
from mmpnet.system.files import check_output
from mmpnet.system.signals import InterruptedRunError

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)
NOT_BETTER = 3
"""The exit code if the new model is not proven better."""
EXAMPLES = (
    ("mmp-adapt --data door/ --teacher yolox_x.onnx -o door.onnx", "learn from teachers alone"),
    ("mmp-adapt --data door/ --labeled corrected/ -o door.onnx", "learn from corrected labels"),
    ("mmp-adapt --data door/ --labeled corrected/ --general coco/ -o d.onnx", "and stay good elsewhere"),
)


@app.command(cls=helpful("--data", "--labeled", "--teacher", "--minutes", "--out", examples=EXAMPLES))
def adapt(
    data: Annotated[
        list[Path], typer.Option(help="Folder of mmp-collect, or labeled images of one camera; may be repeated.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write if it is better; ends in .onnx.")],
    labeled: Annotated[
        list[Path] | None,
        typer.Option(
            "--labeled", "--labelled", help="Corrected labels of images of --data, from CVAT, Label Studio, ..."
        ),
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="ONNX file of a larger detector that labels the other images; several are fused."),
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(help="Labeled images of other times to measure; default: the last 30 % in time of the others."),
    ] = None,
    general: Annotated[
        list[Path] | None,
        typer.Option(help="Labeled images of other places: learned again, and measured. May be repeated."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="About how long it may take on this machine.")] = 60.0,
    model: Annotated[
        str,
        typer.Option(
            help=f"The model to beat: {OTHER_NAMES}, or a file. The new one has its input size and precision."
        ),
    ] = "person-320-int8",
    weights: Annotated[
        str, typer.Option(help="Start: `default` (the shipped weights), or a checkpoint or float32 ONNX file of ours.")
    ] = "default",
    general_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Largest loss of AP on general images that is accepted.")
    ] = 0.02,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn at random.")] = 0,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder of the steps, from which a stopped run is resumed; default: --out with .work."),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Adapt a model to one camera in minutes. It is written only if it is proven better on times it did not learn."""
    with exit_on_error():
        check_output(out, (".onnx",))
        with explain_imports(extra="train"):
            from mmpnet.adapt.adapt import adapt as run
            from mmpnet.adapt.adapt import shown_lines
            from mmpnet.adapt.plan import AdaptOptions
            from mmpnet.train.choices import NAMED_WEIGHTS
            from mmpnet.train.cli.run_display import RunDisplay
        options = AdaptOptions(
            data=tuple(data),
            labeled=tuple(labeled or ()),
            teachers=tuple(teacher or ()),
            held_out=tuple(held_out or ()),
            general=tuple(general or ()),
            model=model,
            weights=weights if weights in NAMED_WEIGHTS else str(Path(weights).resolve()),
            minutes=minutes,
            general_loss=general_loss,
            seed=seed,
        )
        folder = out.with_suffix(".work") if work is None else work
        say = console().print
        try:
            proof = run(
                options,
                out,
                folder,
                callbacks=RunDisplay(console()).callbacks(),
                notice=say,
                progress=progress_bar,
            )
        except KeyboardInterrupt as stop:
            raise InterruptedRunError(f"stopped; the same command resumes it: {folder}") from stop
        for line in shown_lines(proof):
            results().print(line)
        results().print(proof.verdict)
        if not proof.better:
            say(f"{out}: nothing was replaced; the candidate is {folder / 'candidate.onnx'}")
            raise typer.Exit(NOT_BETTER)
        say(f"{out}: written; next: mmp-run {out} --camera 0")


def main() -> None:
    """Entry point of mmp-adapt."""
    app()
