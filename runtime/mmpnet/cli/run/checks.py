"""Reject mmp-run options that conflict or have no effect, before the model is loaded."""

from collections.abc import Collection, Sequence
from pathlib import Path

import typer

from mmpnet.cli.run.event_outputs import EventOptions
from mmpnet.cli.run.settings import OutputFlags
from mmpnet.contract.errors import OutputError
from mmpnet.media.h264 import require_encoder
from mmpnet.media.images import is_image
from mmpnet.runtime.sinks.line_writer import check_ndjson
from mmpnet.runtime.sinks.video import SAVED_SUFFIXES, check_name, is_many
from mmpnet.runtime.sources.frame import Kind, Source
from mmpnet.system.claims import check_unclaimed
from mmpnet.system.files import check_folder, is_folder

FOLLOWING_FLAGS = (
    "--track",
    "--line",
    "--zone",
    "--mask",
    "--classes",
    "--events",
    "--store",
    "--mqtt",
    "--webhook",
    "--record",
)
NO_RUN_FLAGS = frozenset({"--config", "--print-config", "--log-level"})
SELF_TEST_FLAGS = frozenset({"--self-test", "--provider", "--threads"})
_OWN_MODE = "files keep their own frame size and rate"
_ALWAYS_THERE = "files do not become stale or lost"
LIVE_ONLY = {
    "--width": _OWN_MODE,
    "--height": _OWN_MODE,
    "--fps": _OWN_MODE,
    "--fourcc": _OWN_MODE,
    "--record": "use --save for files",
    "--max-age-ms": "frames of files do not become too old",
    "--stale-after": _ALWAYS_THERE,
    "--first-frame": _ALWAYS_THERE,
    "--reconnect": _ALWAYS_THERE,
}
"""Options that have no effect on files, and why."""


def given_flags(context: typer.Context, *origins: str) -> frozenset[str]:
    """The options on the command line or in a file, without defaults and values from the environment.

    origins: by default COMMANDLINE and DEFAULT_MAP, which is the file.
    """
    origins = origins or ("COMMANDLINE", "DEFAULT_MAP")
    sources = {option.opts[0]: context.get_parameter_source(option.name or "") for option in context.command.params}
    typed = {flag for flag, origin in sources.items() if origin is not None and origin.name in origins}
    return frozenset(flag for flag in typed if flag.startswith("--"))


def check_flags(given: Collection[str]) -> None:
    """Raises: typer.BadParameter for options that conflict, whatever the sources."""
    if "--self-test" in given and (others := sorted(set(given) - SELF_TEST_FLAGS - NO_RUN_FLAGS)):
        raise typer.BadParameter(f"--self-test generates its own frame; leave {', '.join(others)} out")
    if "--blur" in given and "--save-crops" in given:
        raise typer.BadParameter("--save-crops writes images of people, --blur hides people; choose one")
    if "--segment" in given and not {"--record", "--save"} & set(given):
        raise typer.BadParameter("--segment is for recordings; add --record FOLDER or --save FOLDER")
    for flag in ("--keep", "--record-before", "--record-after"):
        if flag in given and "--record" not in given:
            raise typer.BadParameter(f"{flag} is for recordings; add --record FOLDER")
    if "--keep-events" in given and not {"--store", "--mqtt", "--webhook"} & set(given):
        raise typer.BadParameter("--keep-events is for stored events; add --store FILE")
    if "--mqtt-ca" in given and "--mqtt" not in given:
        raise typer.BadParameter("--mqtt-ca is for a broker; add --mqtt mqtts://HOST")
    if "--embed-in" in given and "--serve" not in given:
        raise typer.BadParameter("--embed-in is for the web page; add --serve HOST:PORT")
    for flag in ("--token", "--token-file"):
        if flag in given and "--serve" not in given:
            raise typer.BadParameter(f"{flag} protects the web page of --serve; add --serve HOST:PORT")


def check_effects(given: Collection[str], sources: Sequence[Source]) -> None:
    """Raises: typer.BadParameter for options without effect on these sources, and for endless writing."""
    live = [source.live for source in sources]
    if not any(live):
        for flag, why in LIVE_ONLY.items():
            # The web page reports stale sources of every kind.
            if flag in given and not (flag == "--stale-after" and "--serve" in given):
                raise typer.BadParameter(f"{flag} is for cameras and streams; {why}")
    if "--loop" in given and all(live):
        raise typer.BadParameter("--loop is for files; a camera or stream does not end; leave --loop out")
    if "--vid-stride" in given and not any(live) and all(map(is_image, _paths(sources))):
        raise typer.BadParameter("--vid-stride is for videos, cameras and streams; images are never skipped")
    following = [flag for flag in FOLLOWING_FLAGS if flag in given]
    images = [path for path in _paths(sources) if is_image(path)]
    if following and images:
        raise typer.BadParameter(f"{following[0]} needs a camera or a video; {images[0]} is an image")
    if {"--loop", "--save"} <= set(given) and "--limit" not in given:
        if any(source.many_files for source in sources):
            raise typer.BadParameter("--loop over several files with --save would write endlessly; give --limit")
        if any(map(is_image, _paths(sources))):
            raise typer.BadParameter("--loop over an image with --save would write endlessly; give --limit")


def check_outputs(
    sources: Sequence[Source], happenings: EventOptions, outputs: OutputFlags, *, record: Path | None
) -> None:
    """Raises: OutputError for outputs that are not writable, typer.BadParameter for two outputs with one file."""
    save, save_crops, ndjson = outputs.save, outputs.save_crops, outputs.ndjson
    if ndjson is not None:
        check_ndjson(ndjson, _paths(sources))
    events, store = happenings.lines, happenings.store
    if events is not None:
        check_ndjson(events, _paths(sources), option="--events")
        if ndjson is not None and (events == ndjson or Path(events).resolve() == Path(ndjson).resolve()):
            raise typer.BadParameter("--json and --events name the same output; choose another for one of them")
    if store is not None:
        check_store(store)
    if record is not None:
        check_folder(record, option=f"--record {record}")
        require_encoder()
    if save is not None:
        if ndjson not in (None, "-") and save.resolve() == Path(str(ndjson)).resolve():
            raise typer.BadParameter("--save and --json name the same file; choose another for one of them")
        _check_save(save, sources)
    if save_crops is not None:
        check_folder(save_crops, option=f"--save-crops {save_crops}")


def check_store(store: Path) -> None:
    """Raises: OutputError for an event store that cannot be opened."""
    if not is_folder(store.parent):
        raise OutputError(f"--store {store}: there is no folder {store.parent}; make it first")
    check_folder(store.parent, option=f"--store {store}")
    check_unclaimed(store)


def _check_save(out: Path, sources: Sequence[Source]) -> None:
    many_files, (first, *_) = is_many(out, sources), sources
    check_name(out, many_files=many_files, kind=_kind(first), source=first.name)
    if not many_files and out.resolve() in {path.resolve() for path in first.paths}:
        raise OutputError(f"--save {out}: is also a source; choose another name or folder")
    kept = [path for path in _paths(sources) if many_files and path.suffix.lower() in SAVED_SUFFIXES]
    if own := [path for path in kept if path.resolve().parent == out.resolve()]:
        raise OutputError(f"--save {out}: its {own[0].name} is also a source; choose another folder")
    check_folder(out if many_files else out.parent, option=f"--save {out}")
    if not many_files:
        check_unclaimed(out)


def _kind(source: Source) -> Kind:
    if source.live:
        return "camera"
    return "image" if all(map(is_image, source.paths)) else "video"


def _paths(sources: Sequence[Source]) -> list[Path]:
    return [path for source in sources for path in source.paths]
