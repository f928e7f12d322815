"""The help of all commands: the options that matter first, the others in groups, and examples at the end."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

MAIN_GROUP = "Most used options"
OTHER_GROUP = "Other options"
WIDEST = 100
"""Longer lines are hard to read, so the help does not fill a wider terminal."""
_UNLIMITED = 1e6
_METAVARS = {int: "N", float: "NUMBER", Path: "PATH", str: "TEXT"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One argument or option: how it is typed, what it means, and its default, bounds and variable."""

    names: str
    value: str
    text: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Options that belong together, under a title."""

    title: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A command that a reader can copy, and what it does."""

    command: str
    text: str


class HelpfulCommand(TyperCommand):
    """A command that prints its help in groups; `helpful` makes the class of one command."""

    main_options: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as typer does, and name the nearest choice where a value is none of them."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            nearest = _nearest_choice(self, error.param, given)
            if nearest is not None:
                error.message += f" Did you mean {nearest}?"
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is given
        """Print the help on stdout; nothing is left for the formatter."""
        _print_page(self, ctx, described(self), self.examples)


class HelpfulGroup(TyperGroup):
    """A command with subcommands, whose help lists them."""

    examples: tuple[Example, ...] = ()

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is given
        """Print the help on stdout; nothing is left for the formatter."""
        commands = tuple(Entry(name, "", first_paragraph(command.help), ()) for name, command in self.commands.items())
        _print_page(self, ctx, (Group("Commands", commands), *described(self)), self.examples)


def helpful(*main_options: str, examples: Sequence[tuple[str, str]] = ()) -> type[HelpfulCommand]:
    """The class of a command whose help starts with these options and ends with these (command, meaning) examples."""
    content = {"main_options": main_options, "examples": tuple(Example(*one) for one in examples)}
    return type("Helpful", (HelpfulCommand,), content)


def described(command: Any) -> tuple[Group, ...]:
    """The arguments and options of a typer command in groups, those that matter most first."""
    declared = inspect.signature(command.callback).parameters if command.callback else {}
    groups: dict[str, list[Entry]] = {"Arguments": [], MAIN_GROUP: []}
    last: list[Entry] = []
    main = getattr(command, "main_options", ())
    for param in command.params:
        entry = _entry(param, declared.get(param.name))
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            groups["Arguments"].append(entry)
        elif param.opts[0] in main:
            groups[MAIN_GROUP].append(entry)
        elif param.opts[0] in ("--version", "--install-completion", "--show-completion"):
            last.append(entry)
        else:
            groups.setdefault(getattr(param, "rich_help_panel", None) or OTHER_GROUP, []).append(entry)
    groups[MAIN_GROUP].sort(key=lambda entry: main.index(entry.names.split(", ")[0].split(" / ")[0]))
    others = groups.pop(OTHER_GROUP, [])
    help_entry = Entry("-h, --help", "", "Print this help.", ())
    found = [Group(title, tuple(entries)) for title, entries in groups.items() if entries]
    return (*found, Group(OTHER_GROUP, (*others, *last, help_entry)))


def _nearest_choice(command: Any, param: Any, args: Sequence[str]) -> str | None:
    """The choice of an option that is most like what was given for it; None if nothing is."""
    declared = inspect.signature(command.callback).parameters.get(getattr(param, "name", None) or "")
    kind, _ = _kind(declared.annotation) if declared is not None else (None, False)
    if get_origin(kind) is not Literal:
        return None
    given = [value for flag, value in pairwise(args) if flag in param.opts]
    given += [word.partition("=")[2] for word in args if word.partition("=")[0] in param.opts]
    found = [one for word in given for one in get_close_matches(word, list(map(str, get_args(kind))), n=1)]
    return found[0] if found else None


def _entry(param: Any, declared: inspect.Parameter | None) -> Entry:
    kind, is_list = _kind(declared.annotation) if declared is not None else (bool, False)
    is_argument = param.param_type_name == "argument"
    is_flag = kind is bool and not is_argument
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    names = param.metavar or param.name.upper() if is_argument else ", ".join(param.opts)
    if is_argument and is_list and not param.metavar:
        names += "..."
    if param.secondary_opts:
        names += " / " + ", ".join(param.secondary_opts)
    value = "" if is_flag or is_argument else param.metavar or ("NAME" if choices else _METAVARS.get(kind, "TEXT"))
    named = (f"{', '.join(map(str, choices[:-1]))} or {choices[-1]}",) if choices else ()
    return Entry(names, value, param.help or "", (*named, *_facts(param, kind, is_flag=is_flag)))


def _kind(annotation: Any) -> tuple[Any, bool]:
    """The type of one value, without Annotated, Optional and list; and whether there may be several values."""
    is_list = False
    while get_origin(annotation) in (Annotated, Union, UnionType, list):
        is_list = is_list or get_origin(annotation) is list
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    return annotation, is_list


def _facts(param: Any, kind: Any, *, is_flag: bool) -> Iterator[str]:
    """The default, the bounds, the environment variable, and whether an option is required."""
    shown, default = getattr(param, "show_default", True), param.default
    if isinstance(shown, str):
        yield f"default: {shown}"
    elif shown and default not in (None, "", [], ()) and not callable(default):
        if not is_flag:
            yield f"default: {default:g}" if isinstance(default, float) else f"default: {default}"
        elif default:
            yield f"default: {param.opts[0]}"
    low, high = (getattr(param, name, None) for name in ("min", "max"))
    if kind in (int, float):
        # Older typer has the bounds in a type of its own.
        low, high = (
            getattr(param.type, name, None) if bound is None and hasattr(param, "type") else bound
            for name, bound in (("min", low), ("max", high))
        )
        if high is not None and high < _UNLIMITED:
            yield f"{low or 0:g} to {high:g}"
        elif low:
            yield f"{low:g} or more"
    if param.envvar:
        yield f"or in ${param.envvar}"
    if param.required and param.param_type_name != "argument":
        yield "required"


def first_paragraph(text: str | None) -> str:
    """The first paragraph of a docstring as one line."""
    first, _, _ = (text or "").strip().partition("\n\n")
    return " ".join(first.split())


def _print_page(command: Any, ctx: Any, groups: Sequence[Group], examples: Sequence[Example]) -> None:
    console = Console(file=sys.stdout, markup=False, highlight=False)
    console.width = min(console.width, WIDEST)
    console.print(Text("Usage: ", style="bold").append(usage(command, ctx), style="default"))
    console.print("\n" + first_paragraph(command.help))
    for group in groups:
        console.print("\n" + group.title, style="bold")
        _print_entries(console, group.entries)
    if examples:
        console.print("\nExamples", style="bold")
        for example in examples:
            console.print(f"  {example.command}", style="cyan", soft_wrap=True)
            console.print(f"      {example.text}")


def usage(command: Any, ctx: Any) -> str:
    """The line that says how the command is typed, such as `mmp-run [OPTIONS] [MODEL]`."""
    words = []
    for param in command.params:
        if param.param_type_name == "argument":
            name = param.metavar or param.name.upper()
            words.append(name if param.required or name.startswith("[") else f"[{name}]")
    required = [
        f"{one.opts[0]} {one.name.upper()}"
        for one in command.params
        if one.param_type_name != "argument" and one.required
    ]
    ending = ["COMMAND ..."] if isinstance(command, TyperGroup) else []
    return " ".join([ctx.command_path, *ending, *words, *required, "[OPTIONS]"])


def _print_entries(console: Console, entries: Sequence[Entry]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(max_width=console.width // 3, overflow="fold", no_wrap=False)
    table.add_column(overflow="fold")
    for entry in entries:
        left = Text("  ").append(entry.names, style="cyan")
        if entry.value:
            left.append(" " + entry.value)
        facts = f" [{'; '.join(entry.facts)}]" if entry.facts else ""
        table.add_row(left, Text(entry.text).append(facts, style="dim"))
    console.print(table)
