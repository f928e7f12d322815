"""mmp-train: train a detector from labeled images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mmpnet.console.command import HELP_NAMES, exit_on_error, explain_imports, show_version
from mmpnet.console.help import helpful
from mmpnet.console.options import with_options
from mmpnet.train.artifacts.options import SECTIONS
from mmpnet.train.choices import with_fine_tuning

_RESUMABLE = frozenset({"resume", "device", "workers", "train", "val"})
_PACKABLE = frozenset({"pack", "pack_px", "shards", "train", "val", "classes"})
EXAMPLES = (
    ("mmp-train --data DATA --check", "check every file of the data, and train nothing"),
    ("mmp-train --data DATA --epochs 60", "train from ImageNet weights"),
    ("mmp-train --resume runs/train", "continue after Ctrl-C or a crash"),
)

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command(cls=helpful("--data", "--epochs", "--weights", "--imgsz", "--batch", examples=EXAMPLES))
@with_options({f"{name.capitalize()} options": section for name, section in SECTIONS.items()})
def train(
    context: typer.Context,
    only_check: Annotated[bool, typer.Option("--check", help="Check every file of the data without training.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: one JSON document on stdout.")] = False,
    pack: Annotated[
        Path | None,
        typer.Option(help="Copy the images of --data and --val into tar shards in a new folder, without training."),
    ] = None,
    pack_px: Annotated[
        int | None,
        typer.Option(min=32, help="With --pack: make images smaller, to WebP of at most N px along the longer side."),
    ] = None,
    shards: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="With --pack: write shards to s3://..., and only the labels to the folder."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Run folder below --project; default: train, train2, ...")] = None,
    project: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option(help="Run folder or last.pth of the run to resume, with its own options.")
    ] = None,
    go_on: Annotated[
        bool,
        typer.Option(
            "--continue",
            help="Resume the run of --name if it has a last.pth, which needs the same options; otherwise start it.",
        ),
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
    *,
    options: dict[str, Any],
) -> None:
    """Train MmpNet on labeled images; write last.pth, best.pth, results.csv, config.json and report.html."""
    with exit_on_error():
        given = _given(context)
        if resume is not None:
            _check_resumed(given)
        elif not options["train"]:
            raise typer.BadParameter("give --data (a folder or file of labeled images), or --resume with a run folder")
        if go_on and (name is None or resume is not None or only_check):
            raise typer.BadParameter("--continue needs --name, and goes with neither --resume nor --check")
        if as_json and not only_check:
            raise typer.BadParameter("--json goes with --check; a run's numbers are in its results.csv")
        _check_packed(given)
        if "sure_score" in given and options["uncertain"] != "ignore":
            raise typer.BadParameter("--sure-score goes with --uncertain ignore; soft boxes are learned at any score")
        if "feature_weight" in given and options["feature_teacher"] is None:
            raise typer.BadParameter("--feature-weight goes with --feature-teacher FILE.onnx")
        with explain_imports(extra="train"):
            from mmpnet.train.cli import actions
        device, workers = (options[name] if name in given else None for name in ("device", "workers"))
        if resume is not None:
            data, val = (options[name] if name in given else () for name in ("train", "val"))
            actions.resume(resume, device=device, workers=workers, data=data, val=val)
            return
        options = actions.with_sample(options, weights_given="weights" in given or pack is not None)
        options = with_fine_tuning(options, given)
        if pack is not None:
            actions.pack(options, pack, longest_px=pack_px, address=shards)
        elif go_on and name is not None:
            actions.start_or_resume(options, project, name, device=device, workers=workers)
        elif only_check:
            actions.check_data(options, as_json=as_json)
        else:
            actions.start(options, project, name)


def _given(context: typer.Context) -> dict[str, str]:
    """Return the options on the command line: their names as parameters, and their flags."""
    flag_of = {param.name: param.opts[0] for param in context.command.params if param.name is not None}
    sources = {name: context.get_parameter_source(name) for name in flag_of}
    return {name: flag_of[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _check_resumed(given: dict[str, str]) -> None:
    """Raises: typer.BadParameter for options that a resumed run does not take."""
    refused = [flag for name, flag in given.items() if name not in _RESUMABLE]
    if refused:
        raise typer.BadParameter(
            f"{', '.join(refused)}: a resumed run keeps its settings; only --device, --workers, and --data and --val "
            "of moved data go with --resume"
        )


def _check_packed(given: dict[str, str]) -> None:
    """Raises: typer.BadParameter for options that do not go with --pack, or not without it."""
    if "pack" not in given:
        alone = [given[name] for name in ("pack_px", "shards") if name in given]
        if alone:
            raise typer.BadParameter(f"{', '.join(alone)}: goes with --pack FOLDER")
        return
    refused = [flag for name, flag in given.items() if name not in _PACKABLE]
    if refused:
        raise typer.BadParameter(
            f"{', '.join(refused)}: --pack only copies images; give these options when you train on the packed folder"
        )


def main() -> None:
    """Entry point of mmp-train."""
    app()
