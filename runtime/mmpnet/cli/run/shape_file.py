"""Lines and zones that are drawn, changed and removed on the page, in the file of --config, with its comments kept."""

import os
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from mmpnet.cli.run.site_file import CameraSettings, read_site
from mmpnet.contract.errors import MissingExtraError, MmpnetError
from mmpnet.runtime.analytics.shapes import Line, Zone
from mmpnet.runtime.web.drawn_shape import DrawnShape, KnownShape, NamedShape
from mmpnet.system.files import atomic_write
from mmpnet.system.service_manager import is_managed

KINDS = ("line", "zone")


class ShapeFile:
    """The lines and zones in a file; keys: as in read_site. After a change, a service reloads.

    All methods raise MmpnetError if the file cannot be read or written, or a change would make it wrong; it then stays
    as it was.
    """

    def __init__(self, path: Path, keys: Collection[str]) -> None:
        self._path = path
        self._keys = keys

    def shapes(self) -> list[KnownShape]:
        """The lines and zones of all cameras, without masks."""
        return [shape for camera in read_site(self._path, self._keys).cameras() for shape in _known(camera)]

    def save(self, shape: DrawnShape) -> str:
        """Add a shape, or put it in the place of the one that it replaces. Returns what happens next."""

        def change(camera: Any) -> None:
            others = {name for _, _, name in _entries(camera)} - {shape.replaces}
            if shape.name in others:
                raise MmpnetError(
                    f"{shape.camera} has a line or zone with the name {shape.name!r}; choose another name"
                )
            entry = _removed(camera, shape.camera, shape.replaces) if shape.replaces else _new_table()
            entry["name"] = shape.name
            entry["points"] = [f"{x:.1f}%,{y:.1f}%" for x, y in shape.points]
            _append(camera, shape.kind, entry)

        return f"Saved to {self._path.name}; {self._change(shape.camera, change)}"

    def remove(self, shape: NamedShape) -> str:
        """Remove a line or zone. Returns what happens next."""
        what = self._change(shape.camera, lambda camera: _removed(camera, shape.camera, shape.name))
        return f"Removed from {self._path.name}; {what}"

    def _change(self, camera: str, change: Callable[[Any], object]) -> str:
        document = _parsed(self._path)
        found = next((one for one in document.get("camera", []) if one.get("name") == camera), None)
        if found is None:
            raise MmpnetError(f"{self._path}: has no [[camera]] with the name {camera!r}; add the line or zone by hand")
        change(found)
        with atomic_write(self._path) as partial:
            partial.write_text(document.as_string(), encoding="utf-8")
            read_site(partial, self._keys).cameras()
        if not is_managed():
            return "start mmp-run again to use it."
        os.kill(os.getpid(), signal.SIGHUP)
        return "the run reloads."


def _known(camera: CameraSettings) -> Iterator[KnownShape]:
    shapes: list[Line | Zone] = [*camera.lines, *camera.zones]
    for shape in shapes:
        points = tuple((_text(x.value, x.percent), _text(y.value, y.percent)) for x, y in shape.points)
        yield KnownShape(camera.name or "", "zone" if isinstance(shape, Zone) else "line", shape.name, points)


def _text(value: float, percent: bool) -> str:
    return f"{value:g}{'%' if percent else ''}"


def _entries(camera: Any) -> list[tuple[str, int, str]]:
    """Kind, index and name of each line and zone; one without a name is called as read_site calls it."""
    return [
        (kind, index, str(one.get("name") or f"{kind}{index + 1}"))
        for kind in KINDS
        for index, one in enumerate(camera.get(kind, []))
    ]


def _removed(camera: Any, camera_name: str, name: str) -> Any:
    """Take a shape out of a camera's table; returns its entry. Raises: MmpnetError if there is none of this name."""
    for kind, index, found in _entries(camera):
        if found == name:
            entry = camera[kind][index]
            del camera[kind][index]
            if not camera[kind]:
                del camera[kind]
            return entry
    raise MmpnetError(f"{camera_name} has no line or zone with the name {name!r}; load the page again")


def _new_table() -> Any:
    import tomlkit

    return tomlkit.table()


def _append(camera: Any, kind: str, entry: Any) -> None:
    import tomlkit

    if kind not in camera:
        camera[kind] = tomlkit.aot()
    camera[kind].append(entry)


def _parsed(path: Path) -> Any:
    """The document with its comments. Raises: MmpnetError."""
    try:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"saving a shape needs {error.name}: pip install 'mmpnet[serve]'") from error
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise MmpnetError(f"{path}: cannot be read; correct it") from error
