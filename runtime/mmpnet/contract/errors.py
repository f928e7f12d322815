"""Errors that a user can cause; each message says what was found, what was expected and what to do."""


class MmpnetError(Exception):
    """A bad file, device, camera or dataset; the command line prints this one line and exits with code 1."""


class ContractError(MmpnetError):
    """The metadata of an ONNX file is missing, damaged or does not fit this version."""


class CheckpointError(MmpnetError):
    """A training checkpoint cannot be read or does not belong to this version."""


class SelfTestError(MmpnetError):
    """A model file does not reproduce here the detections that were recorded at its export."""


class DatasetError(MmpnetError):
    """A dataset, or one of its entries, cannot be read."""


class SourceError(MmpnetError):
    """An image, folder, video or camera gives no frames."""


class DeviceError(MmpnetError):
    """A requested compute device or execution provider is not available."""


class OutputError(MmpnetError):
    """A result cannot be written, or cannot be read back after writing."""


class TrainingError(MmpnetError):
    """Training cannot continue, or cannot be resumed as requested."""


class ExportError(MmpnetError):
    """An export failed or did not reproduce the network's numbers."""


class MissingExtraError(MmpnetError):
    """A requested feature needs an optional dependency that is not installed."""


def first_line(error: Exception, *, most: int = 200) -> str:
    """The text of an error as one line, cut to `most` characters."""
    return " ".join(str(error).split())[:most]
