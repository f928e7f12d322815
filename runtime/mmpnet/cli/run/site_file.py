"""The file of `mmp-run --config`: options by the names of their flags, and cameras with settings of their own."""

import difflib
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mmpnet.contract.errors import MmpnetError, first_line
from mmpnet.contract.records import StrictStruct
from mmpnet.runtime.analytics.shapes import Line, Zone, parse_line, parse_zone
from mmpnet.system.environment import expanded

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CAMERA = "camera"
_Shape = TypeVar("_Shape", Line, Zone)


class ShapeEntry(StrictStruct, frozen=True, kw_only=True, omit_defaults=True):
    """A line, zone or mask: points such as `["0%,60%", "100%,60%"]`, and the classes that it counts."""

    points: tuple[str, ...]
    name: str = ""
    classes: tuple[str, ...] = ()


class CameraEntry(StrictStruct, frozen=True, kw_only=True, omit_defaults=True):
    """One `[[camera]]` of the file."""

    name: str
    source: str | int
    conf: float | None = None
    classes: tuple[str, ...] = ()
    line: tuple[ShapeEntry, ...] = ()
    zone: tuple[ShapeEntry, ...] = ()
    mask: tuple[ShapeEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What one camera looks for; `source` is as on the command line."""

    name: str | None
    source: str
    conf: float | None = None
    classes: frozenset[str] = frozenset()
    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()
    masks: tuple[Zone, ...] = ()


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A file as it was read. The texts of `options` and of the entries still contain their `${NAME}`."""

    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    """Values by the names of the flags, with _ instead of -."""
    entries: tuple[CameraEntry, ...] = ()
    model: str | None = None

    def expanded_options(self) -> dict[str, Any]:
        """The options with the secrets of the environment. Raises: MmpnetError if one is missing."""
        return {key: self.expanded_option(key) for key in self.options}

    def expanded_option(self, key: str) -> Any:
        """The value of an option with the secrets of the environment. Raises: MmpnetError if one is missing."""
        return _expanded(self.options[key], self.path, key)

    def cameras(self) -> list[CameraSettings]:
        """The cameras, whose sources still contain their `${NAME}`. Raises: MmpnetError for points that are none."""
        return [self._settings(entry) for entry in self.entries]

    def _settings(self, entry: CameraEntry) -> CameraSettings:
        try:
            return CameraSettings(
                name=entry.name,
                source=str(entry.source),
                conf=entry.conf,
                classes=frozenset(entry.classes),
                lines=tuple(_shape(parse_line, one, f"line{n}") for n, one in enumerate(entry.line, 1)),
                zones=tuple(_shape(parse_zone, one, f"zone{n}") for n, one in enumerate(entry.zone, 1)),
                masks=tuple(_shape(parse_zone, one, f"mask{n}") for n, one in enumerate(entry.mask, 1)),
            )
        except ValueError as error:
            raise MmpnetError(f"{self.path}: camera {entry.name!r}: {error}") from error


def read_site(path: Path, keys: Collection[str]) -> SiteFile:
    """Read a file whose options may have these keys.

    Raises: MmpnetError for a file that cannot be read, is not TOML, or has unknown or impossible entries.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MmpnetError(f"{path}: cannot be read ({error.strerror}); give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MmpnetError(f"{path}: is not TOML ({first_line(error)}); correct it") from error
    _refuse_unknown(content, [*keys, CAMERA, "model"], path, "")
    cameras = content.pop(CAMERA, [])
    if not isinstance(cameras, list) or not all(isinstance(one, dict) for one in cameras):
        raise MmpnetError(f"{path}: camera: expected [[camera]] sections, each with a name and a source")
    for number, camera in enumerate(cameras, 1):
        _check_camera(camera, path, f"camera {camera.get('name', number)!r}: ")
    model = content.pop("model", None)
    if model is not None and not isinstance(model, str):
        raise MmpnetError(f"{path}: model: expected text in quotes, found {model!r}")
    for key, value in content.items():
        if isinstance(value, dict):
            raise MmpnetError(f"{path}: {key}: expected a value, found a section; write {key} = ... above all sections")
    try:
        entries = msgspec.convert(cameras, tuple[CameraEntry, ...])
    except msgspec.ValidationError as error:
        raise MmpnetError(f"{path}: camera: {error}") from error
    _check_names([entry.name for entry in entries], path)
    return SiteFile(path, content, entries, model)


def site_text(options: Mapping[str, Any], entries: Sequence[CameraEntry], *, model: str | None) -> str:
    """The TOML text of a file with these options and cameras."""
    lines = [] if model is None else [f"model = {_toml(model)}"]
    lines += [f"{key} = {_toml(value)}" for key, value in options.items()]
    for entry in entries:
        lines += ["", "[[camera]]"]
        shapes = {"line": entry.line, "zone": entry.zone, "mask": entry.mask}
        content = msgspec.to_builtins(entry)
        lines += [f"{key} = {_toml(value)}" for key, value in content.items() if key not in shapes]
        for kind, listed in shapes.items():
            for shape in listed:
                lines += [f"[[camera.{kind}]]"]
                lines += [f"{key} = {_toml(value)}" for key, value in msgspec.to_builtins(shape).items()]
    return "\n".join(lines) + "\n"


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'NAME'?` if a known name is near, else the list of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names)}"


def _check_camera(camera: Mapping[str, Any], path: Path, where: str) -> None:
    _refuse_unknown(camera, CameraEntry.__struct_fields__, path, where)
    for kind in ("line", "zone", "mask"):
        shapes = camera.get(kind, [])
        if not isinstance(shapes, list) or not all(isinstance(one, dict) for one in shapes):
            raise MmpnetError(f"{path}: {where}{kind}: expected [[camera.{kind}]] sections")
        for shape in shapes:
            _refuse_unknown(shape, ShapeEntry.__struct_fields__, path, f"{where}{kind}: ")


def _refuse_unknown(content: Mapping[str, Any], known: Iterable[str], path: Path, where: str) -> None:
    names = list(known)
    for key in content:
        if key not in names:
            raise MmpnetError(f"{path}: {where}there is no setting {key!r}; {nearest(key, names)}")


def _check_names(names: Sequence[str], path: Path) -> None:
    for name in names:
        if not name.strip() or "/" in name or "=" in name:
            raise MmpnetError(f"{path}: camera {name!r}: expected a name without / and =")
        if names.count(name) > 1:
            raise MmpnetError(f"{path}: two cameras have the name {name!r}; give each its own name")


def _shape(parse: Callable[..., _Shape], entry: ShapeEntry, default_name: str) -> _Shape:
    shape = parse(",".join(entry.points), default_name=entry.name or default_name)
    return replace(shape, classes=frozenset(entry.classes))


def _expanded(value: Any, path: Path, where: str) -> Any:
    if isinstance(value, list):
        return [_expanded(one, path, where) for one in value]
    if not isinstance(value, str):
        return value
    try:
        return expanded(value)
    except ValueError as error:
        raise MmpnetError(f"{path}: {where}: {error}") from error


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # A JSON string is a TOML string, but for one character that only TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
