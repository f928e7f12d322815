"""Tell the model from the sources among the words of `mmp-run MODEL SOURCE ...`."""

import glob
from collections.abc import Sequence
from pathlib import Path

import typer

from mmpnet.media.images import IMAGE_SUFFIXES
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS
from mmpnet.runtime.sources.files import VIDEO_SUFFIXES
from mmpnet.system.files import is_folder


def model_and_sources(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The model among the words, None for the default one, and the sources in their order.

    A word that is a name of a model or ends in .onnx is the model. An image, a video, a folder, a pattern, an address,
    a device and a number are sources. The first word that is none of these is taken for a model, which reports what is
    wrong with it.

    Raises: typer.BadParameter for two models.
    """
    models = [word for word in words if not _is_source(word)]
    if len(models) > 1:
        raise typer.BadParameter(f"{models[0]} and {models[1]} are both taken for models; give one model")
    return (models[0] if models else None), [word for word in words if _is_source(word)]


def _is_source(word: str) -> bool:
    if word in EMBEDDED_MODELS or word.lower().endswith(".onnx"):
        return False
    is_address = "://" in word or word.startswith("/dev/") or word.isdecimal()
    is_media = Path(word).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    return is_address or is_media or glob.has_magic(word) or is_folder(Path(word))
