"""train: train a detector from a program."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from mmpnet.contract.option_fields import option_fields
from mmpnet.system.progress import Notice, no_notice
from mmpnet.train.artifacts.config import config_of
from mmpnet.train.artifacts.options import SECTIONS
from mmpnet.train.choices import NAMED_WEIGHTS, with_fine_tuning
from mmpnet.train.engine.run_writer import BEST
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.prepare import validation_paths
from mmpnet.train.run.start import new_folder, start_run

Places: TypeAlias = Path | str | Sequence[Path | str]


def train(
    data: Places,
    *,
    val: Places = (),
    folder: Path | str | None = None,
    notice: Notice = no_notice,
    **options: Any,
) -> Path:
    """Train MmpNet on labeled images, and return the path of best.pth.

        best = train("door/", folder="runs/door", weights="default", input_hw=(320, 320))

    data: folders or files of labeled images. val: validation data; by default the val splits of `data`.
    folder: the run folder to make; by default runs/train, runs/train2, ... notice: receives lines about the work.
    options: those of mmp-train by the names of their fields, such as `epochs`, `lr`, `input_hw` or `teachers`; with
    weights "default", those that are not given have the defaults of fine-tuning.

    Raises: ValueError for an option that is unknown or out of its bounds; an MmpnetError child for bad data, weights,
    device, teacher or folder.
    """
    paths = tuple(map(_absolute, _places(data)))
    chosen = {
        **_known(options),
        "train": paths,
        "val": validation_paths(paths, tuple(map(_absolute, _places(val)))),
        "weights": _weights(str(options.get("weights", "imagenet"))),
    }
    config = config_of(with_fine_tuning(chosen, options))
    run = new_folder(Path("runs"), None) if folder is None else new_folder(Path(folder).parent, Path(folder).name)
    start_run(config, run, callbacks=RunCallbacks(notice=notice))
    return run / BEST


def _places(given: Places) -> tuple[Path | str, ...]:
    return (given,) if isinstance(given, Path | str) else tuple(given)


def _absolute(path: Path | str) -> str:
    return str(Path(path).absolute())


def _weights(named: str) -> str:
    return named if named in NAMED_WEIGHTS else _absolute(named)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with lists as tuples. Raises: ValueError for the first unknown name."""
    known = {field.name for section in SECTIONS.values() for field in option_fields(section)}
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise ValueError(f"there is no option {name!r}{f'; did you mean {near[0]!r}?' if near else ''}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
