"""validate: measure a checkpoint or an exported file from a program."""

from collections.abc import Sequence
from pathlib import Path

from mmpnet.contract.thresholds import Thresholds
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.splits import Split
from mmpnet.evaluation.bootstrap import Bootstrap
from mmpnet.evaluation.evaluate import detect_all, require_measurable
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS
from mmpnet.evaluation.results import PartResult, measure_parts, parts_of
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.progress import Notice, no_notice
from mmpnet.train.open_models import OpeningOptions, check_options, open_model


def validate(
    model: Path | str,
    data: Path | str | Sequence[Path | str],
    *,
    split: Split = "val",
    classes: Sequence[str] = (),
    thresholds: Thresholds | None = None,
    resamples: int = 1000,
    notice: Notice = no_notice,
) -> PartResult:
    """Measure a model on labeled images, as mmp-val does.

        found = validate("person-320-int8", "door/")
        found.evaluation.ap("AP50"), found.interval("AP50"), found.evaluation.as_dict()

    model: a checkpoint, an exported file, or the name of a model of this package. data: folders or files; `split` is
    that of folders. classes: measure these only; NAME=OLD,OLDER measures those as one class.
    thresholds: by default those of all published numbers. resamples: of the bootstrap; 0 gives no intervals.
    notice: receives lines about the model.

    Raises: ValueError for another kind of file; an MmpnetError child for a bad model or bad data.
    """
    path = model_path(model)
    options = OpeningOptions(thresholds or EVALUATION_THRESHOLDS, thresholds is not None, None, None, None)
    check_options([path], options)
    places = [data] if isinstance(data, Path | str) else data
    dataset = load_dataset([Path(place) for place in places], split, tuple(classes))
    opened = open_model(path, dataset.class_names[1:], options, say=notice)
    to_category = require_measurable(dataset, opened.class_names)
    found = detect_all(opened.detect, dataset, to_category)
    how = Bootstrap(resamples) if resamples else None
    return measure_parts(dataset, found, sorted(to_category.values()), parts_of([dataset], by_source=False), how)[0]
