"""The models inside the installed package, and their names."""

from importlib.resources import files
from pathlib import Path

from mmpnet.contract.errors import ContractError

DEFAULT_MODEL = "person-320"
EMBEDDED_MODELS = (DEFAULT_MODEL, "person-320-int8", "person-192x320-int8", "person-224-int8")
OTHER_NAMES = f"{', '.join(EMBEDDED_MODELS[1:-1])} or {EMBEDDED_MODELS[-1]}"
"""Names for the help of commands."""


def model_path(model: Path | str | None = None) -> Path:
    """Path of a model: an embedded one by name, the default one for None, or the given path.

    Raises: ContractError if the package was built without the embedded model.
    """
    name = DEFAULT_MODEL if model is None else str(model)
    if name not in EMBEDDED_MODELS:
        return Path(name)
    path = Path(str(files("mmpnet.runtime") / "models" / f"{name}.onnx"))
    if not path.is_file():
        raise ContractError(f"{path}: this build has no embedded model; give the path of a MODEL.onnx file")
    return path
