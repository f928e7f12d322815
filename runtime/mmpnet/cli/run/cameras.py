"""The cameras of an mmp-run: from `NAME=SOURCE` and `CAMERA/NAME=X1,Y1,...` on the command line, and from a file."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import typer

from mmpnet.cli.run.secrets import expanded_source, holds_secret
from mmpnet.cli.run.site_file import CameraEntry, CameraSettings, ShapeEntry, nearest
from mmpnet.contract.thresholds import Thresholds
from mmpnet.runtime.analytics.analyzer import Analysis
from mmpnet.runtime.analytics.shapes import Line, Zone, parse_line, parse_zone

_NAMED = re.compile(r"\s*([^=/\\:?*\[\]]*[^=/\\:?*\[\]\s])\s*=\s*(.+)", re.DOTALL)
_Shape = TypeVar("_Shape", Line, Zone)


@dataclass(frozen=True, slots=True)
class ShapeTexts:
    """What the options --line, --zone and --mask say."""

    lines: Sequence[str] = ()
    zones: Sequence[str] = ()
    masks: Sequence[str] = ()

    @classmethod
    def of(cls, *options: Sequence[str] | None) -> "ShapeTexts":
        """From the values of the three options."""
        return cls(*(one or () for one in options))


def split_name(text: str) -> tuple[str | None, str]:
    """Name and source of `NAME=SOURCE`; no name for a source without one, such as a file with = in its name."""
    named = _NAMED.fullmatch(text)
    if named is None or os.path.lexists(text):
        return None, text
    return named[1], named[2]


def resolve_cameras(
    typed: Sequence[str], texts: ShapeTexts, from_file: Sequence[CameraSettings]
) -> list[CameraSettings]:
    """The cameras of a run: those typed, or else those of the file, with their lines, zones and masks.
    Sources still contain their `${NAME}`.

    A typed source with the name of a camera of the file replaces that camera's source. A shape without a camera is for
    every camera, and one with a name replaces the shape of that name.

    Raises: typer.BadParameter for a shape that is none, or is for a camera that does not exist.
    """
    known = {camera.name: camera for camera in from_file}
    cameras = list(from_file)
    if typed:
        named = [split_name(text) for text in typed]
        cameras = [replace(known.get(name, CameraSettings(name, "")), name=name, source=text) for name, text in named]
    names = [camera.name for camera in cameras if camera.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise typer.BadParameter(f"two sources have the name {name!r}; give each its own name")
    lines = [_parsed(text, parse_line, f"line{number}", names) for number, text in enumerate(texts.lines, 1)]
    zones = [_parsed(text, parse_zone, f"zone{number}", names) for number, text in enumerate(texts.zones, 1)]
    masks = [_parsed(text, parse_zone, f"mask{number}", names) for number, text in enumerate(texts.masks, 1)]
    return [
        replace(
            camera,
            lines=_joined(camera.lines, lines, camera.name),
            zones=_joined(camera.zones, zones, camera.name),
            masks=_joined(camera.masks, masks, camera.name),
        )
        for camera in cameras
    ]


def entry_of(camera: CameraSettings, number: int) -> CameraEntry:
    """A camera as an entry of a file, without secrets; one without a name gets its number."""
    return CameraEntry(
        name=camera.name or f"camera {number}",
        source=f"${{MMPNET_SOURCE_{number}}}" if holds_secret(camera.source) else camera.source,
        conf=camera.conf,
        classes=tuple(sorted(camera.classes)),
        line=tuple(map(_entry, camera.lines)),
        zone=tuple(map(_entry, camera.zones)),
        mask=tuple(map(_entry, camera.masks)),
    )


def with_secrets(camera: CameraSettings) -> CameraSettings:
    """The camera with each `${NAME}` of its address replaced. Raises: typer.BadParameter if one is not set."""
    try:
        return replace(camera, source=expanded_source(camera.source))
    except ValueError as error:
        raise typer.BadParameter(f"{camera.name or 'source'}: {error}") from error


def _entry(shape: Line | Zone) -> ShapeEntry:
    points = tuple(",".join(f"{one.value:g}{'%' if one.percent else ''}" for one in point) for point in shape.points)
    return ShapeEntry(name=shape.name, points=points, classes=tuple(sorted(shape.classes)))


def _parsed(
    text: str, parse: Callable[..., _Shape], default_name: str, cameras: Sequence[str]
) -> tuple[str | None, _Shape]:
    """The camera that a shape is for, None for all of them, and the shape."""
    name, _, points = text.rpartition("=")
    camera, slash, own_name = name.partition("/")
    if slash and camera.strip() not in cameras:
        known = nearest(camera.strip(), cameras) if cameras else "name it: --source 'NAME=...'"
        raise typer.BadParameter(f"{text!r}: no camera has the name {camera.strip()!r}; {known}")
    try:
        shape = parse(f"{own_name}={points}" if slash else text, default_name=default_name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return (camera.strip() if slash else None), shape


def _joined(
    own: Sequence[_Shape], typed: Sequence[tuple[str | None, _Shape]], camera: str | None
) -> tuple[_Shape, ...]:
    """A camera's own shapes and the typed ones for it; of two with one name, the typed one."""
    joined = {shape.name: shape for shape in own}
    for name, shape in typed:
        if name in (None, camera):
            joined[shape.name] = shape
    return tuple(joined.values())


def is_special(camera: CameraSettings) -> bool:
    """Whether a camera has settings that need an analyzer."""
    return bool(camera.lines or camera.zones or camera.masks or camera.classes or camera.conf is not None)


def analyses_of(
    cameras: Sequence[CameraSettings], thresholds: Thresholds, class_names: Sequence[str], classes: str | None
) -> list[Analysis]:
    """What to track and to count in each camera. `classes`: of the cameras that have none of their own.

    Raises: typer.BadParameter for a class that the model does not know, MmpnetError for one of a line or zone.
    """
    wanted = frozenset(name.strip() for name in (classes or "").split(",") if name.strip())
    for name in sorted(wanted.union(*(camera.classes for camera in cameras)) - set(class_names[1:])):
        raise typer.BadParameter(f"there is no class {name!r}; {nearest(name, class_names[1:])}")
    return [
        Analysis(
            thresholds.conf if camera.conf is None else camera.conf,
            camera.lines,
            camera.zones,
            thresholds.max_det,
            class_names,
            camera.classes or wanted,
            camera.masks,
        )
        for camera in cameras
    ]
