"""Save a line or zone that was drawn on the page to the file of --config, with its comments kept."""

import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path

from mmpnet.cli.run.site_file import read_site
from mmpnet.contract.errors import MissingExtraError, MmpnetError
from mmpnet.runtime.web.drawn_shape import DrawnShape
from mmpnet.system.files import atomic_write
from mmpnet.system.service_manager import is_managed


def shape_saver(path: Path, keys: Collection[str]) -> Callable[[DrawnShape], str]:
    """A function that adds a shape to the file, and says what happens next; keys: as in read_site.

    A service then reloads. Raises, when it is called: MmpnetError if the file has another shape of this name, or cannot
    be written; it then stays as it was.
    """

    def save(shape: DrawnShape) -> str:
        with atomic_write(path) as partial:
            partial.write_text(_with_shape(path, shape), encoding="utf-8")
            read_site(partial, keys).cameras()
        if not is_managed():
            return f"Saved to {path.name}; start mmp-run again to use it."
        os.kill(os.getpid(), signal.SIGHUP)
        return f"Saved to {path.name}; the run reloads."

    return save


def _with_shape(path: Path, shape: DrawnShape) -> str:
    """The text of the file with the shape in the section of its camera."""
    try:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"saving a shape needs {error.name}: pip install 'mmpnet[serve]'") from error
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise MmpnetError(f"{path}: cannot be read; correct it") from error
    camera = next((one for one in document.get("camera", []) if one.get("name") == shape.camera), None)
    if camera is None:
        raise MmpnetError(f"{path}: has no [[camera]] with the name {shape.camera!r}; add the line or zone by hand")
    taken = {one.get("name") for kind in ("line", "zone") for one in camera.get(kind, [])}
    if shape.name in taken:
        raise MmpnetError(f"{shape.camera} has a line or zone with the name {shape.name!r}; choose another name")
    entry = tomlkit.table()
    entry["name"] = shape.name
    entry["points"] = [f"{x:.1f}%,{y:.1f}%" for x, y in shape.points]
    if shape.kind not in camera:
        camera[shape.kind] = tomlkit.aot()
    camera[shape.kind].append(entry)
    return tomlkit.dumps(document)
