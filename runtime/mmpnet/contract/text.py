"""Texts of strangers, made safe for those who read them: encoders, OpenCV, terminals."""

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All control characters but tab and line feed, and those that turn the direction of writing."""


def well_formed(text: str) -> str:
    """The text with `?` for each lone surrogate, which stands in the names of files that are not UTF-8."""
    return text.encode(errors="replace").decode()


def is_well_formed(text: str) -> bool:
    """Whether the text can be encoded as UTF-8. OpenCV ends Python with a segmentation fault on one that cannot."""
    return well_formed(text) == text


def visible(text: str) -> str:
    """The text with its control characters as `\\x1b`: a terminal shows them instead of doing what they say."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
