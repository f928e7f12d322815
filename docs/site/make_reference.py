"""Write what comes from the code: options of commands, metadata of a file, metrics, an example in the README.

`--check` changes nothing, and fails if a page is not up to date.
"""

import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import typer
from typer.testing import CliRunner

from metrics_table import metrics_table
from mmpnet.adapt.command import app as adapt_app
from mmpnet.archive.schema import schema_document
from mmpnet.cli.archive.command import app as archive_app
from mmpnet.cli.bench.command import app as bench_app
from mmpnet.cli.doctor.command import app as doctor_app
from mmpnet.cli.info import app as info_app
from mmpnet.cli.run.command import app as run_app
from mmpnet.console.command import exit_on_error
from mmpnet.console.help import Entry, described, first_paragraph
from mmpnet.contract.errors import MmpnetError
from mmpnet.contract.metadata import METADATA_KEY, ModelMetadata
from mmpnet.export.cli.command import app as export_app
from mmpnet.train.cli.collect import app as collect_app
from mmpnet.train.cli.train import app as train_app
from mmpnet.train.cli.val import app as val_app

REFERENCE = Path(__file__).parents[1] / "reference"
README = Path(__file__).parents[2] / "README.md"
HTTP = REFERENCE / "http.md"
SHOWN_MODEL = "person-192x320-int8"
APPS = {
    "mmp-run": run_app,
    "mmp-doctor": doctor_app,
    "mmp-info": info_app,
    "mmp-bench": bench_app,
    "mmp-archive": archive_app,
    "mmp-collect": collect_app,
    "mmp-adapt": adapt_app,
    "mmp-train": train_app,
    "mmp-val": val_app,
    "mmp-export": export_app,
}
NOTE = "<!-- Written by docs/site/make_reference.py from the code; change it there. -->"
app = typer.Typer(add_completion=False)


def commands_page() -> str:
    """All options of all commands, in the groups and the order of their help."""
    about = "Each command prints this with `-h`. With `--install-completion`, your shell completes options and choices."
    lines = ["# Commands", "", NOTE, "", _wrapped(about), ""]
    for name, command_app in APPS.items():
        top: Any = typer.main.get_command(command_app)
        subcommands = getattr(top, "commands", {})
        lines += [f"## {name}", "", _wrapped(first_paragraph(top.help)), ""]
        for words, command in subcommands.items():
            lines += [f"### {name} {words}", "", _wrapped(first_paragraph(command.help)), "", *_options(command)]
        if not subcommands:
            lines += _options(top)
    return "\n".join(lines).rstrip() + "\n"


def _options(command: Any) -> Iterator[str]:
    for group in described(command):
        entries = [one for one in group.entries if not one.names.endswith(("-completion", "--help"))]
        if entries:
            yield from (f"**{group.title}**", "", "| option | meaning |", "| --- | --- |", *map(_row, entries), "")
    if command.examples:
        yield "**Examples**"
        yield ""
        yield "```text"
        yield from (f"{one.command}    # {one.text}" for one in command.examples)
        yield from ("```", "")


def _row(entry: Entry) -> str:
    value = f" {entry.value}" if entry.value else ""
    facts = f" ({'; '.join(entry.facts)})" if entry.facts else ""
    escaped = re.sub(r"([\[\]<*_])", r"\\\1", entry.text + facts)  # no link, tag or emphasis in Markdown
    return f"| `{entry.names}{value}` | {_cell(escaped)} |"


def metadata_page() -> str:
    """Every field of the metadata of an exported file, by struct."""
    lines = ["# Metadata of a model file", "", NOTE, ""]
    lines += [f"`mmp-export` writes one JSON document into the ONNX file, under the key `{METADATA_KEY}`."]
    lines += ["`mmp-info MODEL --all` and `mmp-info MODEL --json` show it. A reader checks it strictly: an unknown"]
    lines += ["field, or a value out of its bounds, is an error.", ""]
    for struct in _structs(ModelMetadata):
        lines += [f"## {struct.__name__}", "", _paragraphs(struct.__doc__), ""]
        lines += ["| field | type |", "| --- | --- |"]
        kinds = get_type_hints(struct, include_extras=True)
        fields = msgspec.structs.fields(struct)
        lines += [f"| `{one.encode_name}` | {_cell(_type_name(kinds[one.name]))} |" for one in fields]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _structs(struct: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """The struct and those that its fields hold, each once, in the order of reading."""
    found = [struct]
    for kind in get_type_hints(struct).values():
        for one in _leaves(kind):
            found += [inner for inner in _structs(one) if inner not in found]
    return found


def _leaves(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for argument in get_args(kind):
        yield from _leaves(argument)


def _type_name(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        if arguments[-1] is ...:
            return f"list of {_type_name(arguments[0])}"
        return f"list: {', '.join(map(_type_name, arguments))}"
    if origin in (types.UnionType, getattr(types, "UnionType", None)) or str(origin) == "typing.Union":
        return " or ".join(map(_type_name, arguments))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return "null" if kind is type(None) else str(getattr(kind, "__name__", kind))


def readme(text: str) -> str:
    """The README with the present output of its example of mmp-info."""
    shown = CliRunner().invoke(info_app, [SHOWN_MODEL], env={"COLUMNS": "80"}).stdout
    lines = "".join(f"{line.strip()}\n" if line[1] != " " else f"{line.rstrip()[1:]}\n" for line in shown.splitlines())
    before, command, rest = text.partition(f"$ mmp-info {SHOWN_MODEL}\n")
    _, prompt, after = rest.partition("$ ")
    if not command or not prompt:
        raise MmpnetError(f"README.md: has no example `mmp-info {SHOWN_MODEL}` that another command follows")
    return before + command + lines + prompt + after


def http(text: str) -> str:
    """The page about HTTP with the table of all metrics, which is its end."""
    before, note, _ = text.partition(NOTE)
    if not note:
        raise MmpnetError(f"{HTTP.name}: lacks the line that the table of the metrics follows: {NOTE}")
    return f"{before}{note}\n\n{metrics_table()}"


def _paragraphs(docstring: str | None) -> str:
    return "\n\n".join(map(_wrapped, inspect.cleandoc(docstring or "").split("\n\n")))


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def archive_page() -> str:
    """The columns of the results of mmp-archive."""
    title, text = schema_document().split("\n", 1)
    return f"{title}\n\n{NOTE}\n{text}"


PAGES = {"commands.md": commands_page, "metadata.md": metadata_page, "archive-schema.md": archive_page}


@app.command()
def make(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if a page is old.")] = False,
) -> None:
    """Write docs/reference/commands.md, metadata.md and archive-schema.md, the metrics, and the README's example."""
    with exit_on_error():
        texts = {REFERENCE / name: page() for name, page in PAGES.items()}
        texts[README] = readme(README.read_text())
        texts[HTTP] = http(HTTP.read_text())
        for path, text in texts.items():
            if not check:
                path.write_text(text)
            elif path.read_text() != text:
                raise MmpnetError(f"{path}: is not what the code says; run make reference")


if __name__ == "__main__":
    app()
