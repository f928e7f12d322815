"""The models inside the installed package, by name."""

from importlib.resources import files
from pathlib import Path

from mmpnet.contract.errors import ContractError

DEFAULT_MODEL = "person-320"
EMBEDDED_MODELS = (DEFAULT_MODEL, "person-320-int8", "person-192x320-int8", "person-224-int8")
OTHER_NAMES = " or ".join(EMBEDDED_MODELS[1:])
"""For the help of commands."""


def model_path(model: Path | str | None = None) -> Path:
    """The file that is meant: an embedded model by its name, the default one for None, or a path as it stands.

    Raises: ContractError if the package was built without the embedded model.
    """
    name = DEFAULT_MODEL if model is None else str(model)
    if name not in EMBEDDED_MODELS:
        return Path(name)
    path = Path(str(files("mmpnet.runtime") / "models" / f"{name}.onnx"))
    if not path.is_file():
        raise ContractError(f"{path}: this build has no embedded model; give mmp-run a MODEL.onnx")
    return path
