"""Secrets from the environment: the value of a variable, or the content of the file that it names."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""`${NAME}`."""


def from_environment(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The value of NAME, or the content of the file named by NAME_FILE without its last newline; None if none is set.

    Raises: ValueError if the file cannot be read.
    """
    value = environment.get(name)
    if value is not None:
        return value
    file = environment.get(f"{name}_FILE")
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"{name}_FILE: {file}: cannot be read ({reason}); correct the name or its rights") from error


def expanded(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text with each `${NAME}` replaced by from_environment.

    Raises: ValueError if a name is not set, or its file cannot be read.
    """

    def value(found: re.Match[str]) -> str:
        replaced = from_environment(found[1], environment)
        if replaced is None:
            raise ValueError(f"{found[0]}: neither {found[1]} nor {found[1]}_FILE is set in the environment; set one")
        return replaced

    return REFERENCE.sub(value, text)
