"""Hide secrets in the addresses of streams."""

import re

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/{1,3}", re.IGNORECASE)
_HARMLESS = frozenset(
    [
        *("action", "audio", "bitrate", "cam", "camera", "ch", "chan", "channel", "channelid", "chn", "codec"),
        *("compression", "format", "fps", "frame", "framerate", "height", "index", "lens", "live", "media", "mode"),
        *("multicast", "num", "number", "overlay", "profile", "proto", "protocol", "quality", "rate", "real_stream"),
        *("res", "resolution", "rotation", "side", "size", "stream", "streamid", "streamtype", "sub", "subtype"),
        *("track", "trackid", "transport", "transportmode", "type", "unicast", "video", "videocodec", "view", "width"),
    ]
)
"""Names whose values are shown. Those of all others are hidden, as no list of the names of secrets is complete."""
_LOGIN_NAMES = re.compile(
    r"[\w-]*(?:user|usr|login|pass|pwd|token|key|secret|auth|sid)[\w-]*", re.ASCII | re.IGNORECASE
)
"""Names that are shown themselves, without their values; another name may be a part of a password."""
_PLAIN = re.compile(r"[\w.:,x*-]{0,24}", re.ASCII)
_ITEM_START = re.compile(rf"(?<![^_])(?=(?:{'|'.join(_HARMLESS)})=)", re.IGNORECASE)
"""Some cameras separate the items with _, which may also be in a password; so only a harmless name begins an item."""
_HIDDEN = "***"


def without_password(address: str) -> str:
    """The address for messages, in which the login and all values that may be secret are replaced by ***.

    Text before the address, such as the name of `NAME=ADDRESS`, stays.
    A password may contain `/`, `?`, `#` and `@`, so everything between `//` and the last `@` is taken for the login.
    """
    scheme = _SCHEME.search(address)
    if scheme is None:
        return address
    _, login, rest = address[scheme.end() :].rpartition("@")
    path, mark, query = rest.partition("?")
    equals = path.find("=")
    if equals >= 0:
        begin = max(path.rfind(separator, 0, equals) for separator in "/;&") + 1
        path = path[:begin] + _items(path[begin:])
    path, fragment, _ = path.partition("#")
    return (
        f"{address[: scheme.end()]}{_HIDDEN + '@' if login else ''}{path}{'#' + _HIDDEN if fragment else ''}"
        f"{mark}{_items(query) if query else ''}"
    )


def _items(text: str) -> str:
    """Items such as `channel=1&subtype=0`, without the values of names that are not harmless."""
    return "".join(
        part if part in ("&", ";") else "".join(map(_item, _ITEM_START.split(part)))
        for part in re.split("([&;])", text)
    )


def _item(text: str) -> str:
    stem = text.rstrip("_")
    name, equals, value = stem.partition("=")
    if name.lower() in _HARMLESS and _PLAIN.fullmatch(value):
        return text
    shown = name + equals if equals and _LOGIN_NAMES.fullmatch(name) else ""
    return f"{shown}{_HIDDEN if stem else ''}{text[len(stem) :]}"
