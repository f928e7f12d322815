"""Options as fields of structs: each field declares its default, bounds and help once (`msgspec.Meta`).

`Meta.extra` adds facts for the command line: `flag`, if the flag is not named after the field; `path`, if the text
names a file or folder and is to become absolute; `default`, the text for a default that depends on the machine;
`envvar`, the variable of the environment that also sets it; `hidden`, if the help leaves it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta


@dataclass(frozen=True, slots=True)
class OptionField:
    """One option: its field's name, type without annotations, default, help, and the bounds of one value."""

    name: str
    kind: Any
    default: Any
    meta: Meta
    bounds: Meta

    @property
    def extra(self) -> Mapping[str, Any]:
        """The additional facts for the command line."""
        return self.meta.extra or {}

    @property
    def label(self) -> str:
        """The flag without its leading dashes, such as `mosaic-until`."""
        return str(self.extra.get("flag", self.name.replace("_", "-")))


@cache
def option_fields(section: type[msgspec.Struct]) -> tuple[OptionField, ...]:
    """The options that a struct declares, in order."""
    kinds, annotated = get_type_hints(section), get_type_hints(section, include_extras=True)
    defaults = msgspec.structs.fields(section)
    return tuple(
        OptionField(
            field.name,
            kinds[field.name],
            _default(field),
            _meta_of(annotated[field.name]),
            _bounds_of(annotated[field.name]),
        )
        for field in defaults
    )


def check_options(section: msgspec.Struct) -> None:
    """Raises: ValueError naming the first option of a struct that is out of bounds, and its allowed values."""
    annotated = get_type_hints(type(section), include_extras=True)
    for field in option_fields(type(section)):
        value = getattr(section, field.name)
        try:
            msgspec.convert(value, annotated[field.name])
        except msgspec.ValidationError as error:
            expected = _in_words(annotated[field.name]) or f"valid ({error})"
            raise ValueError(f"{field.label} must be {expected}, got {_shown(value)}") from error


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _meta_of(annotated: Any) -> Meta:
    found = [part for part in get_args(annotated) if isinstance(part, Meta)]
    return found[0] if get_origin(annotated) is Annotated and found else Meta()


def _bounds_of(annotated: Any) -> Meta:
    """The bounds of a value, or of each element of a tuple."""
    kind = get_args(annotated)[0] if get_origin(annotated) is Annotated else annotated
    return _meta_of(get_args(kind)[0] if get_origin(kind) is tuple else annotated)


def _in_words(annotated: Any) -> str:
    """The allowed values: bounds or choices; for a tuple, those of its elements."""
    kind = get_args(annotated)[0] if get_origin(annotated) is Annotated else annotated
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return _in_words(get_args(kind)[0])
    meta = _meta_of(annotated)
    if meta.ge is not None and meta.le is not None:
        return f"in [{meta.ge:g}, {meta.le:g}]"
    parts = [f"{word} {bound:g}" for word, bound in (("above", meta.gt), ("at least", meta.ge)) if bound is not None]
    if meta.lt is not None:
        parts.append(f"below {meta.lt:g}")
    if meta.le is not None:
        parts.append(f"at most {meta.le:g}")
    return " and ".join(parts)


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple | list) else str(value)
