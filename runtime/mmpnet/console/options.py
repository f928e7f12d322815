"""Make command-line options from the fields of structs, so that each option is declared once, in its struct."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
import typer

from mmpnet.console.command import parse_size_hw
from mmpnet.contract.option_fields import OptionField, option_fields

_UNLIMITED = 1e6
"""Bounds from here on only catch typing mistakes: they are checked, but not shown in the help."""

_T = TypeVar("_T")


def with_options(sections: Mapping[str, type[msgspec.Struct]]) -> Callable[[Callable[..., _T]], Callable[..., _T]]:
    """Give a typer command one option per field of the sections, which appear in the help under their names.

    The command gets the values as the keyword argument `options`: a dict from field name to value. Fields of text that
    are marked as paths become absolute, options that may be repeated become tuples, and options that are not given get
    the field's default.
    """
    fields = [(title, field) for title, section in sections.items() for field in option_fields(section)]

    def wrap(command: Callable[..., _T]) -> Callable[..., _T]:
        def run(**given: Any) -> _T:
            options = {field.name: _value(field, given.pop(field.name)) for _, field in fields}
            return command(options=options, **given)

        own = [one for one in inspect.signature(command).parameters.values() if one.name != "options"]
        parameters = [
            *(_parameter(field, title) for title, field in fields),
            *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own),
        ]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return wrap


def _parameter(field: OptionField, title: str) -> inspect.Parameter:
    """The option as a parameter that typer reads from a signature."""
    kind, default = _typer_type(field), field.default
    parser, metavar = _PARSERS.get(_element(field.kind) or field.kind, (None, None))
    if _element(field.kind) is not None or default is None:
        kind, default = kind | None, None
    elif parser is not None:
        default = _text(default)
    is_chosen = default is True or (default is None and _without_none(field.kind) is bool)
    bounds = field.bounds
    option = typer.Option(
        f"--{field.label}{f'/--no-{field.label}' if is_chosen else ''}",
        help=field.meta.description,
        min=bounds.ge,
        max=bounds.le if bounds.le is None or bounds.le < _UNLIMITED else None,
        parser=parser,
        metavar=metavar,
        envvar=field.extra.get("envvar"),
        hidden=field.extra.get("hidden", False),
        show_default=field.extra.get("default", True),
        rich_help_panel=title,
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _typer_type(field: OptionField) -> Any:
    element = _element(field.kind)
    if element is not None:
        return list[Path if field.extra.get("path") else str if get_origin(element) else element]  # type: ignore[misc]
    if field.extra.get("path"):
        return Path
    if get_origin(field.kind) is tuple:
        return str
    choices = get_args(field.kind) if get_origin(field.kind) is Literal else ()
    return int if choices and isinstance(choices[0], int) else field.kind


def _element(kind: Any) -> Any:
    """The element type of an option that may be repeated; None for others. Comma-separated numbers are one value."""
    arguments = get_args(kind)
    is_repeated = get_origin(kind) is tuple and arguments[-1] is ... and arguments[0] is not float
    return arguments[0] if is_repeated else None


def _without_none(kind: Any) -> Any:
    """`bool | None` -> `bool`."""
    kinds = [one for one in get_args(kind) if one is not type(None)]
    return kinds[0] if len(kinds) == 1 else kind


def _value(field: OptionField, given: Any) -> Any:
    if given is None:
        return field.default
    if isinstance(given, list):
        return tuple(_value(field, one) for one in given) or field.default
    return str(given.resolve()) if field.extra.get("path") else given


def _text(value: tuple[Any, ...]) -> str:
    """A default in the form in which a user would type it."""
    if isinstance(value[0], int) and len(set(value)) == 1:
        return str(value[0])
    return ("x" if isinstance(value[0], int) else ",").join(f"{number:g}" for number in value)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected numbers separated by commas, such as 16,32,64") from None


def _weighted(text: str) -> tuple[str, float]:
    pattern, _, weight = text.rpartition("=")
    try:
        return pattern, float(weight)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected PATTERN=WEIGHT, such as coco=1.5") from None


_PARSERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    tuple[int, int]: (parse_size_hw, "SIZE"),
    tuple[float, ...]: (_numbers, "NUMBERS"),
    tuple[str, float]: (_weighted, "PATTERN=WEIGHT"),
}
