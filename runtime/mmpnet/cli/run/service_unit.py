"""The systemd unit that `mmp-run --print-service` prints for a command line."""

import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from mmpnet.cli.run.secrets import holds_key, holds_secret, references
from mmpnet.runtime.sources.redact import without_password
from mmpnet.runtime.web.listen import is_loopback, parse_address

STATE_FOLDER = "/var/lib/mmpnet"
SECRETS_FILE = "/etc/mmpnet/environment"
WRITTEN = ("--save", "--save-crops", "--json", "--record", "--store", "--events")
"""Options whose values are written to; the service may write into STATE_FOLDER only."""
READ = ("--config", "--mqtt-ca")
_HOMES = ("/home/", "/root/")
_PLAIN = re.compile(r"[\w@%+=:,./\-]+", re.ASCII)

UNIT = """\
# Secrets:  sudo install -m 600 -D /dev/stdin {secrets} <<< 'MMPNET_TOKEN=...'
# Install:  sudo install -m 644 mmpnet.service /etc/systemd/system/ && sudo systemctl enable --now mmpnet
# Messages: journalctl -u mmpnet -f        Reload: sudo systemctl reload mmpnet
[Unit]
Description=mmpnet person detection
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=5
# The first start loads and tests the model, which takes a while on a small computer.
TimeoutStartSec=180
TimeoutStopSec=30
# A run that gets frames but gives no results is restarted.
WatchdogSec=120
EnvironmentFile=-{secrets}
{credentials}# What the service writes lies in {state}; it can write nowhere else.
StateDirectory=mmpnet
StateDirectoryMode=0750
WorkingDirectory={state}
UMask=0027
DynamicUser=yes
{devices}
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged

[Install]
WantedBy=multi-user.target
"""
_CAMERAS = """\
SupplementaryGroups=video
DevicePolicy=closed
DeviceAllow=char-video4linux rw"""
_NO_CAMERAS = "PrivateDevices=yes"


def service_unit(arguments: Sequence[str], *, program: Path) -> str:
    """The unit for mmp-run with these arguments.

    Raises: typer.BadParameter for a secret that everybody could read in the unit, and for a file that the service
    could not read or write.
    """
    kept = [one for one in arguments if one != "--print-service"]
    options = list(_with_values(kept))
    _refuse_secrets(options)
    token_file = next((Path(value).resolve() for option, value in options if option == "--token-file"), None)
    options = [one for one in options if one[0] != "--token-file"]
    local = any(option == "--camera" or value.startswith("/dev/video") for option, value in options)
    words = [str(program)]
    for option, value in options:
        words += [option] if option else []
        words += [_absolute(option, value)] if value else []
    if not any(option in ("--no-show", "--show") for option, _ in options):
        words.append("--no-show")
    for word in words:
        if word.startswith(_HOMES):
            raise typer.BadParameter(
                f"{word}: a service cannot read home folders; install mmpnet in /opt/mmpnet "
                "(python3 -m venv /opt/mmpnet), and keep models and settings in /etc/mmpnet"
            )
    command = " ".join(map(_quoted, words))
    return UNIT.format(
        command=command if token_file is None else f"{command} --token-file %d/token",
        credentials="" if token_file is None else f"LoadCredential=token:{_quoted(str(token_file))}\n",
        secrets=SECRETS_FILE,
        state=STATE_FOLDER,
        devices=_CAMERAS if local else _NO_CAMERAS,
    )


def needed_secrets(settings: str, *, serve: str | None, has_token: bool) -> list[str]:
    """The names of the variables without which the service does not start, in order.

    settings: texts of the run's options, with `${NAME}` for secrets. serve: the address of the web page,
    which needs a token if others can reach it. has_token: whether the settings have one; a token in the environment of
    the caller does not reach the service.

    Raises: OutputError if `serve` is no address.
    """
    names = references(settings)
    public = serve is not None and not is_loopback(parse_address(serve).host)
    return [*names, "MMPNET_TOKEN"] if public and not has_token and "MMPNET_TOKEN" not in names else names


def this_program() -> Path:
    """The path of mmp-run, beside the interpreter or as it was called."""
    called = Path(sys.argv[0])
    beside = Path(sys.executable).with_name("mmp-run")
    return called.resolve() if called.name == "mmp-run" and called.exists() else beside


def _with_values(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Options with their values, in order; an argument without an option has an empty option."""
    found: list[tuple[str, str]] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            found.append(("", word))
        elif "=" in word:
            option, _, value = word.partition("=")
            found.append((option, value))
        elif rest and not rest[0].startswith("--"):
            found.append((word, rest.pop(0)))
        else:
            found.append((word, ""))
    return found


def _refuse_secrets(options: Sequence[tuple[str, str]]) -> None:
    for option, value in options:
        if option == "--token":
            raise typer.BadParameter(
                f"--token would be readable for everybody in the unit; write MMPNET_TOKEN=... to {SECRETS_FILE}, or "
                "use --token-file"
            )
        if holds_key(value) if option == "--webhook" else holds_secret(value):
            address = "" if option == "--webhook" else f" {without_password(value)}"
            raise typer.BadParameter(
                f"{option}{address}: its password would be readable for everybody in the unit; write '${{NAME}}' in "
                f"its place, in single quotes, and NAME=... to {SECRETS_FILE}"
            )


def _absolute(option: str, value: str) -> str:
    """The value as the service needs it: inputs with their whole path, outputs relative to STATE_FOLDER."""
    if option in WRITTEN and value != "-":
        if Path(value).is_absolute() and not value.startswith(f"{STATE_FOLDER}/"):
            raise typer.BadParameter(
                f"{option} {value}: the service can only write into {STATE_FOLDER}; give a relative name"
            )
        return value
    if option not in ("", "--source", *READ) or not Path(value).exists():
        return value
    path = Path(value).resolve()
    if path.is_file() and not path.stat().st_mode & stat.S_IROTH:
        raise typer.BadParameter(
            f"{value}: the user of the service cannot read it; chmod a+r {path}, and write secrets as ${{NAME}} there "
            f"and to {SECRETS_FILE}"
        )
    return str(path)


def _quoted(word: str) -> str:
    """A word as systemd reads it: `%` and `$` have a meaning of their own there."""
    escaped = word.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(escaped):
        return escaped
    inner = escaped.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'
