"""Functions are short and take few parameters, so that a reader can hold one in mind.

The lines are those from `def` to the end without the docstring, the parameters include `self`. Of a typer command only
the body is counted, because typer reads the options from its signature.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("train", "export", "runtime", "benchmarks")
MOST_LINES = 60
MOST_PARAMETERS = 8
COMMAND_MAKERS = ("command", "callback")
EXCEPTIONS: dict[str, str] = {
    "train/mmpnet/train/model.py:MmpNet.__init__": "the exercises name its parameters, and other code builds on them",
}
"""Functions that are larger, and why."""


@dataclass(frozen=True)
class Size:
    """A function by file and name, the lines of its body, its parameters, and whether it is a typer command."""

    name: str
    lines: int
    parameters: int
    is_command: bool

    @property
    def is_large(self) -> bool:
        return self.lines > MOST_LINES or (self.parameters > MOST_PARAMETERS and not self.is_command)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, Function]]:
    """All functions with the names of the classes and functions around them."""
    for node in ast.iter_child_nodes(tree):
        inside = owner
        if isinstance(node, Function | ast.ClassDef):
            inside = f"{owner}.{node.name}" if owner else node.name
            if isinstance(node, Function):
                yield inside, node
        yield from functions(node, inside)


def size_of(name: str, function: Function, commands: frozenset[str] = frozenset()) -> Size:
    """commands: names of functions that are made commands by a call instead of a decorator."""
    command = function.name in commands or any(map(makes_command, function.decorator_list))
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring else function.body
    if command:
        lines = length(body[0], body[-1]) if body else 0
    else:
        lines = length(function, function) - (length(function.body[0], function.body[0]) if has_docstring else 0)
    return Size(name, lines, sum(one is not None for one in parameters), command)


def length(first: ast.stmt, last: ast.stmt) -> int:
    assert last.end_lineno is not None
    return last.end_lineno - first.lineno + 1


def makes_command(call: ast.expr) -> bool:
    """Whether an expression is `app.command(...)` or `app.callback(...)`."""
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in COMMAND_MAKERS


def named_commands(tree: ast.AST) -> set[str]:
    """The functions in `app.command(...)(function)`."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and makes_command(node.func))
    return {argument.id for call in calls for argument in call.args if isinstance(argument, ast.Name)}


def all_sizes() -> list[Size]:
    files = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}
    commands = frozenset(name for tree in trees.values() for name in named_commands(tree))
    return [
        size_of(f"{path}:{name}", function, commands)
        for path, tree in trees.items()
        for name, function in functions(tree)
    ]


@pytest.fixture(scope="module")
def sizes() -> list[Size]:
    return all_sizes()


def test_functions_are_short_and_take_few_parameters(sizes: list[Size]) -> None:
    large = [
        f"{one.name} has {one.lines} lines and {one.parameters} parameters"
        for one in sizes
        if one.is_large and one.name not in EXCEPTIONS
    ]
    assert not large, f"at most {MOST_LINES} lines and {MOST_PARAMETERS} parameters: split {large}"


def test_every_exception_is_still_needed(sizes: list[Size]) -> None:
    needed = {one.name for one in sizes if one.is_large}
    assert set(EXCEPTIONS) <= needed, f"remove {sorted(set(EXCEPTIONS) - needed)} from the exceptions"


def test_sizes_are_counted_as_they_are_read() -> None:
    source = '''
class Detector:
    """A class."""

    def __init__(self, a: int, *rest: int, b: int, **named: int) -> None:
        """Not counted.

        Args: none of these lines.
        """
        self.a = a

        self.b = b

    @app.command()
    def run(
        self,
        a: int = 0,
    ) -> None:
        def inner() -> None: ...
        inner()
'''
    found = [size_of(name, function) for name, function in functions(ast.parse(source))]
    assert found == [
        Size("Detector.__init__", 4, 5, is_command=False),
        Size("Detector.run", 2, 2, is_command=True),
        Size("Detector.run.inner", 1, 0, is_command=False),
    ]
