"""Errors that a user can cause; each message says what was found, what was expected and what to do."""


class MmpnetError(Exception):
    """A bad file, device, camera or data set; the command line prints its one line and exits with code 1."""


class ContractError(MmpnetError):
    """An ONNX file does not say what this runtime needs to know."""


class CheckpointError(MmpnetError):
    """A training checkpoint cannot be read or does not belong to this version."""


class SelfTestError(MmpnetError):
    """A model file does not give here what it gave where it was exported."""


class DatasetError(MmpnetError):
    """A data set is unreadable, or one of its entries is."""


class SourceError(MmpnetError):
    """An image, folder, video or camera gives no frames."""


class DeviceError(MmpnetError):
    """A compute device or execution provider was asked for and is not there."""


class OutputError(MmpnetError):
    """A result cannot be written, or cannot be read back after writing."""


class TrainingError(MmpnetError):
    """Training cannot go on, or cannot be resumed as asked."""


class ExportError(MmpnetError):
    """An export failed or did not reproduce the network's numbers."""


class MissingExtraError(MmpnetError):
    """An optional dependency of the asked-for feature is not installed."""


def first_line(error: Exception, *, most: int = 200) -> str:
    """The text of an error in one line, cut to `most` characters."""
    return " ".join(str(error).split())[:most]
