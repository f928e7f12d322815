"""mmp-train: train a detector from labeled images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpnet.cli.class_option import checked_classes
from mmpnet.console.command import HELP_NAMES, console, exit_on_error, show_version
from mmpnet.console.options import with_options
from mmpnet.train.artifacts.config import SECTIONS, TrainConfig, config_of
from mmpnet.train.cli.check import check
from mmpnet.train.cli.run_display import RunDisplay
from mmpnet.train.run.prepare import validation_paths
from mmpnet.train.run.start import new_folder, resume_run, start_run

_RESUMABLE = frozenset({"resume", "device", "workers"})
_NAMED_WEIGHTS = ("imagenet", "default", "none")

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
@with_options({f"{name.capitalize()} options": section for name, section in SECTIONS.items()})
def train(
    context: typer.Context,
    only_check: Annotated[bool, typer.Option("--check", help="Check every file of the data without training.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: one JSON document on stdout.")] = False,
    name: Annotated[str | None, typer.Option(help="Run folder below --project; default: train, train2, ...")] = None,
    project: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option(help="Run folder or last.pth of the run to resume, with its own options.")
    ] = None,
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
            _resume(resume, given, options)
            return
        if not options["train"]:
            raise typer.BadParameter("give --data (a folder or file of labeled images), or --resume with a run folder")
        if as_json and not only_check:
            raise typer.BadParameter("--json goes with --check; a run's numbers are in its results.csv")
        if "sure_score" in given and options["uncertain"] != "ignore":
            raise typer.BadParameter("--sure-score goes with --uncertain ignore; soft boxes are learned at any score")
        if only_check:
            # Folders of unlabeled images can be checked without a teacher.
            config = _configured({**options, "unlabelled": ()})
            if not check(config, options["unlabelled"], as_json=as_json):
                raise typer.Exit(1)
            return
        start_run(_configured(options), new_folder(project, name), callbacks=RunDisplay(console()).callbacks())


def _configured(options: dict[str, Any]) -> TrainConfig:
    """Return the configuration that the command line asks for.

    Raises: typer.BadParameter if an option is out of its bounds, or options do not go together.
    """
    weights = options["weights"]
    with _as_bad_parameter():
        return config_of(
            {
                **options,
                "val": validation_paths(options["train"], options["val"]),
                "classes": checked_classes(options["classes"]),
                "weights": weights if weights in _NAMED_WEIGHTS else str(Path(weights).resolve()),
            }
        )


@contextmanager
def _as_bad_parameter() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _given(context: typer.Context) -> dict[str, str]:
    """Return the options on the command line: their names as parameters, and their flags."""
    flag_of = {param.name: param.opts[0] for param in context.command.params if param.name is not None}
    sources = {name: context.get_parameter_source(name) for name in flag_of}
    return {name: flag_of[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _resume(path: Path, given: dict[str, str], options: dict[str, Any]) -> None:
    refused = [flag for name, flag in given.items() if name not in _RESUMABLE]
    if refused:
        raise typer.BadParameter(
            f"{', '.join(refused)}: a resumed run keeps its settings; only --device and --workers go with --resume"
        )
    device, workers = (options[name] if name in given else None for name in ("device", "workers"))
    resume_run(path, device=device, workers=workers, callbacks=RunDisplay(console()).callbacks())


def main() -> None:
    """Entry point of mmp-train."""
    app()
