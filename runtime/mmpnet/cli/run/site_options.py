"""Options from the file of --config, and back: the command line as such a file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from mmpnet.cli.run.cameras import ShapeTexts, entry_of, resolve_cameras
from mmpnet.cli.run.secrets import printable
from mmpnet.cli.run.shape_file import ShapeFile
from mmpnet.cli.run.site_file import CameraSettings, SiteFile, read_site, site_text

NOT_IN_FILES = frozenset(
    {"config", "print_config", "camera", "source", "line", "zone", "mask", "self_test", "print_service", "version"}
)
"""Options that say what is done with a file, and those that the [[camera]] sections say."""


def use_site_file(context: typer.Context, path: Path) -> None:
    """Make the options of a file the defaults of all others. Raises: MmpnetError if it cannot be used."""
    names = _parameter_names(context)
    site = read_site(path, [*names])
    context.obj = site
    context.default_map = {names[key]: given for key, given in site.expanded_options().items()}


def cameras_and_model(
    context: typer.Context, typed: Sequence[str], texts: ShapeTexts, model: str | None
) -> tuple[list[CameraSettings], str | None]:
    """The cameras and the model of a run: those of the command line, or else of the file.

    Raises: typer.BadParameter, MmpnetError for lines, zones or masks that are none.
    """
    site = _site_of(context)
    if site is None:
        return resolve_cameras(typed, texts, ()), model
    return resolve_cameras(typed, texts, site.cameras()), model or site.model


def config_text(context: typer.Context, cameras: Sequence[CameraSettings], model: str | None) -> str:
    """A file with the options that differ from the defaults, and the cameras; each secret is a `${NAME}`."""
    site = _site_of(context)
    raw: Mapping[str, Any] = site.options if site is not None else {}
    options: dict[str, Any] = {}
    for key, name in _parameter_names(context).items():
        origin = context.get_parameter_source(name)
        if origin is not None and origin.name == "DEFAULT_MAP":
            options[key] = _plain(key, raw[key])
        elif origin is not None and origin.name in ("COMMANDLINE", "ENVIRONMENT"):
            options[key] = _plain(key, context.params[name])
    return site_text(options, [entry_of(camera, number) for number, camera in enumerate(cameras, 1)], model=model)


def site_check(context: typer.Context) -> Callable[[], object]:
    """A function that reads the file of --config again. Raises, when it is called: MmpnetError if it cannot be used."""
    site = _site_of(context)
    return (lambda: None) if site is None else lambda: read_site(site.path, _parameter_names(context)).cameras()


def site_shapes(context: typer.Context) -> ShapeFile | None:
    """The lines and zones in the file of --config, which the page changes; None without one."""
    site = _site_of(context)
    return None if site is None else ShapeFile(site.path, _parameter_names(context))


def _site_of(context: typer.Context) -> SiteFile | None:
    return context.obj if isinstance(context.obj, SiteFile) else None


def _parameter_names(context: typer.Context) -> dict[str, str]:
    """The parameter of each option that a file may set, by the name of its flag with _ instead of -."""
    names: dict[str, str] = {}
    for parameter in context.command.params:
        flag = next((one for one in parameter.opts if one.startswith("--")), None)
        if flag is not None and parameter.name is not None:
            names[flag.removeprefix("--").replace("-", "_")] = parameter.name
    completion = {"install_completion", "show_completion", "help", "help_all"}
    return {key: name for key, name in names.items() if key not in NOT_IN_FILES | completion}


def _plain(key: str, value: Any) -> Any:
    """A value of an option as TOML has it, without a secret."""
    if isinstance(value, list | tuple):
        return [_plain(key, one) for one in value]
    return printable(key, str(value)) if isinstance(value, Path | str) else value
