"""Options from the file of --config, and back: the command line as such a file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from mmpnet.cli.run.cameras import ShapeTexts, entry_of, resolve_cameras
from mmpnet.cli.run.secrets import OPTIONS_WITH_SECRETS, holds_secret, printable
from mmpnet.cli.run.service_unit import SECRETS_FILE
from mmpnet.cli.run.shape_file import ShapeFile
from mmpnet.cli.run.site_file import CameraSettings, SiteFile, read_site, site_text
from mmpnet.contract.errors import MmpnetError

NOT_IN_FILES = frozenset(
    {"config", "print_config", "camera", "source", "line", "zone", "mask", "self_test", "print_service", "version"}
)
"""Options that say what is done with a file, and those that the [[camera]] sections say."""


def use_site_file(context: typer.Context, path: Path) -> None:
    """Make the options of a file the defaults of all others. Raises: MmpnetError if it cannot be used.

    An option whose secret is missing keeps its `${NAME}`: who prints a unit or a file does not need the secret.
    """
    names = _parameter_names(context)
    site = read_site(path, [*names])
    context.obj = site
    context.default_map = {names[key]: _given(site, key) for key in site.options}


def _given(site: SiteFile, key: str) -> Any:
    try:
        return site.expanded_option(key)
    except MmpnetError:
        if key not in OPTIONS_WITH_SECRETS:
            raise
        return site.options[key]


def require_secrets(context: typer.Context) -> None:
    """Raises: MmpnetError if a secret of the file is missing."""
    site = _site_of(context)
    if site is not None:
        site.expanded_options()


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
    options = {key: _plain(key, value) for key, value, _ in _chosen(context)}
    return site_text(options, [entry_of(camera, number) for number, camera in enumerate(cameras, 1)], model=model)


def referring_texts(context: typer.Context, cameras: Sequence[CameraSettings]) -> str:
    """All texts of the options and cameras of a run, which may contain `${NAME}`, as lines."""
    given = [value for _, value, origin in _chosen(context) if origin != "ENVIRONMENT"]
    return "\n".join(map(str, [*given, *(camera.source for camera in cameras)]))


def _chosen(context: typer.Context) -> Iterator[tuple[str, Any, str]]:
    """Key, value and origin of each option that is not left at its default; those of the file keep their `${NAME}`."""
    site = _site_of(context)
    raw: Mapping[str, Any] = site.options if site is not None else {}
    for key, name in _parameter_names(context).items():
        origin = context.get_parameter_source(name)
        if origin is not None and origin.name == "DEFAULT_MAP":
            yield key, raw[key], origin.name
        elif origin is not None and origin.name in ("COMMANDLINE", "ENVIRONMENT"):
            yield key, context.params[name], origin.name


def refuse_literal_secrets(context: typer.Context) -> None:
    """Raises: MmpnetError if the file of --config, which the user of a service must be able to read, has a secret."""
    site = _site_of(context)
    if site is None:
        return
    options = [(key, _plain(key, value) != value) for key, value in site.options.items()]
    sources = [(f"camera {entry.name!r}: source", holds_secret(str(entry.source))) for entry in site.entries]
    for where, is_secret in (*options, *sources):
        if is_secret:
            raise MmpnetError(
                f"{site.path}: {where}: has a secret, which everybody who may read the file could read; write "
                f"'${{NAME}}' in its place, and NAME=... to {SECRETS_FILE}"
            )


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
