"""Parse XML label files safely, and tell CVAT's from VOC's."""

from pathlib import Path
from typing import Any

from mmpnet.contract.errors import DatasetError, MissingExtraError
from mmpnet.system.files import is_file

_HEAD_BYTES = 4096
_CVAT_ROOT = b"<annotations"
"""The root of *CVAT for images*; that of VOC is <annotation>."""


def is_cvat(path: Path) -> bool:
    """Whether an XML file is one of *CVAT for images*."""
    if not is_file(path) or path.suffix.lower() != ".xml":
        return False
    try:
        with path.open("rb") as file:
            return _CVAT_ROOT in file.read(_HEAD_BYTES)
    except OSError:
        return False


def parsed(raw: bytes, path: Path, *, root: str, expected: str) -> Any:
    """The root element of an XML file.

    Raises: DatasetError if it is not XML or has another root; MissingExtraError without defusedxml.
    """
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import ParseError, fromstring
    except ImportError as error:
        raise MissingExtraError(f"{path}: XML labels need defusedxml: pip install 'mmpnet[eval]'") from error
    try:
        element = fromstring(raw)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:  # LookupError: unknown encoding
        raise DatasetError(f"{path}: is not readable XML ({error}); expected {expected}") from error
    if element.tag != root:
        raise DatasetError(f"{path}: has the root <{element.tag}>; expected {expected}")
    return element
