"""Make untrusted text safe for encoders, OpenCV and terminals, and count in words."""

import re
from typing import Any

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All control characters except tab and line feed, and those that change the direction of text."""


def well_formed(text: str) -> str:
    """The text with `?` for each lone surrogate; file names that are not UTF-8 contain them."""
    return text.encode(errors="replace").decode()


def is_well_formed(text: str) -> bool:
    """Whether the text can be encoded as UTF-8. OpenCV crashes with a segmentation fault if it cannot."""
    return well_formed(text) == text


def well_formed_values(value: Any) -> Any:
    """A value of dicts, lists and tuples for a JSON document, with `well_formed` texts and keys."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed_values(key): well_formed_values(item) for key, item in value.items()}
    return [well_formed_values(item) for item in value] if isinstance(value, list | tuple) else value


def as_bytes(text: str) -> bytes:
    """UTF-8 of a text that may be the name of a file and no UTF-8, different for every text: for hashes."""
    return text.encode("utf-8", "surrogatepass")


def visible(text: str) -> str:
    """The text with control characters escaped as `\\x1b`, so that a terminal shows them instead of obeying them."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def counted(count: int, noun: str, verbs: tuple[str, str] | None = None) -> str:
    """The count with its noun, such as `1 frame`, `2 frames`, `0 boxes` and `3 entries`.

    verbs: for one and for several; the one that agrees follows, as in `1 box is`.
    """
    if verbs is not None:
        return f"{counted(count, noun)} {verbs[count != 1]}"
    if count == 1:
        return f"{count} {noun}"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}{'es' if noun.endswith(('s', 'x', 'ch')) else 's'}"
