"""Hide secrets in the addresses of streams."""

import re

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/{1,3}", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"([\w-]*(?:pass|pwd|token|key|secret|auth|sid)[\w-]*=)[^&/#?;\s]*", re.IGNORECASE)


def without_password(address: str) -> str:
    """The address for messages: the login, and values named like a password, key or token, are replaced by ***."""
    scheme = _SCHEME.match(address)
    if scheme is not None:
        host, login, path = _split_host(address[scheme.end() :])
        address = f"{scheme[0]}{'***@' if login else ''}{host}{path}"
    return _SECRET_VALUE.sub(r"\1***", address)


def _split_host(rest: str) -> tuple[str, bool, str]:
    """Split the text after `//` into host and port, whether there was a login, and the path."""
    end = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
    host, path = rest[:end], rest[end:]
    # If the password has a slash, the text that looks like host and port has no number as its port.
    if "@" not in host and "@" in path and ":" in host and not host.rpartition(":")[2].isdecimal():
        host, path = rest.rpartition("@")[0] + "@", rest.rpartition("@")[2]
        end = min((path.find(mark) for mark in "/?#" if mark in path), default=len(path))
        host, path = host + path[:end], path[end:]
    return host.rpartition("@")[2], "@" in host, path
