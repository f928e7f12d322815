"""Secrets of mmp-run: where they come from, and what must not be printed or typed."""

import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
import typer

from mmpnet.cli.run.settings import EventFlags, PageFlags
from mmpnet.runtime.sources.redact import without_password
from mmpnet.system.environment import REFERENCE, expanded, from_environment

SECRET_OPTIONS = frozenset({"token", "mqtt_password", "webhook_secret"})
"""Options whose values are secret, by their keys in a file."""
OPTIONS_WITH_SECRETS = SECRET_OPTIONS | {"mqtt", "webhook"}
"""Also those whose addresses may contain a secret."""
REFUSED_FLAGS = {"--mqtt-password": "MMPNET_MQTT_PASSWORD", "--webhook-secret": "MMPNET_WEBHOOK_SECRET"}
"""Flags that only a file of --config may set, and what a command line uses instead."""
_LOG = logging.getLogger(__name__)
_USER = re.compile(r"//(?:[\w.%+-]+(?::\*\*\*)?|\*\*\*(?::\*\*\*)?)@")
"""A login of which only the name is typed."""
_OPAQUE = re.compile(r"[^/?#]{16,}|[^/?#]*:[^/?#]*")
"""A part of a path that nobody chose for its meaning, such as the key in the address of a chat's webhook."""


def holds_secret(text: str) -> bool:
    """Whether an address has a password or a value that may be one; neither a `${NAME}` nor a user's name is one."""
    shown = _USER.sub("//***@", REFERENCE.sub("***", text), count=1)
    return without_password(shown) != shown


def is_reference(text: str) -> bool:
    """Whether the whole text is one `${NAME}`."""
    return REFERENCE.fullmatch(text) is not None


def check_typed(typed: Collection[str], sources: Sequence[str], events: EventFlags) -> None:
    """Warn of secrets on the command line, which every user of the machine can read.

    typed: the flags on the command line; sources: what it says of sources.

    Raises: typer.BadParameter for a secret that the command line never needs.
    """
    for flag, variable in REFUSED_FLAGS.items():
        if flag in typed:
            raise typer.BadParameter(
                f"{flag}: others can read it in the list of processes; set {variable}, or {variable}_FILE to a file"
            )
    if "--mqtt" in typed and events.mqtt is not None and holds_secret(events.mqtt):
        raise typer.BadParameter(
            "--mqtt: others can read its password in the list of processes; write mqtt://USER@HOST, and set "
            "MMPNET_MQTT_PASSWORD, or MMPNET_MQTT_PASSWORD_FILE to a file"
        )
    if "--token" in typed:
        _LOG.warning("--token: others can read it in the list of processes; use --token-file FILE or MMPNET_TOKEN")
    if "--webhook" in typed and events.webhook is not None and holds_key(events.webhook):
        warn_of_typed("--webhook")
    if any(map(holds_secret, sources)):
        warn_of_typed("the source")


def warn_of_typed(what: str) -> None:
    """Say that an address on the command line has a secret, and how to give it."""
    _LOG.warning(
        "%s: others can read its password in the list of processes; write '${NAME}' in its place, in single quotes, "
        "and set NAME in the environment, or NAME_FILE to a file",
        what,
    )


def printable(key: str, value: str) -> str:
    """The value of an option as --print-config prints it: a reference instead of a secret."""
    if key in SECRET_OPTIONS:
        is_secret = not is_reference(value)
    else:
        is_secret = holds_key(value) if key == "webhook" else holds_secret(value)
    return f"${{MMPNET_{key.upper()}}}" if is_secret else value


def references(text: str) -> list[str]:
    """The names of all `${NAME}` in a text, each once."""
    return list(dict.fromkeys(REFERENCE.findall(text)))


def missing(source: str) -> bool:
    """Whether a `${NAME}` of a source is not set."""
    try:
        expanded_source(source)
    except ValueError:
        return True
    return False


def expanded_source(source: str) -> str:
    """A source with each `${NAME}` of an address replaced; a file may have such a name, so it stays.

    Raises: ValueError if one is not set.
    """
    return expanded(source) if "://" in source or is_reference(source) else source


def typed_events(typed: Collection[str], flags: EventFlags) -> EventFlags:
    """The options of events with each `${NAME}` of a typed address replaced; those of a file are replaced already.

    Raises: typer.BadParameter if one is not set.
    """

    def value(flag: str, text: str | None) -> str | None:
        try:
            return expanded(text) if text is not None and flag in typed else text
        except ValueError as error:
            raise typer.BadParameter(f"{flag}: {error}") from error

    return msgspec.structs.replace(flags, mqtt=value("--mqtt", flags.mqtt), webhook=value("--webhook", flags.webhook))


def token_of(page: PageFlags) -> str | None:
    """The token of --token, in the file of --token-file, or of the environment. Raises: typer.BadParameter."""
    if page.token is not None and page.token_file is not None:
        raise typer.BadParameter("--token and --token-file are both given; give one")
    if page.token_file is not None:
        return _read_token(page.token_file)
    try:
        return page.token if page.token is not None else from_environment("MMPNET_TOKEN")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise typer.BadParameter(
            f"--token-file {path}: cannot be read ({reason}); correct the name or its rights"
        ) from error
    if not token:
        raise typer.BadParameter(f"--token-file {path}: is empty; write a token to it that is hard to guess")
    return token


def holds_key(address: str) -> bool:
    """Whether the address of a webhook holds a secret; the key of many is a part of the path."""
    path = re.sub(r"^[^:]*://[^/]*", "", REFERENCE.sub("", address))
    return holds_secret(address) or any(_OPAQUE.fullmatch(part) for part in path.partition("?")[0].split("/"))
