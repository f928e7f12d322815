"""The packages that run on a device use no name that Python 3.10 lacks, as Ubuntu 22.04 and JetPack 6 have it."""

import ast
from collections.abc import Iterator
from pathlib import Path

RUNTIME = Path(__file__).parents[2] / "runtime" / "mmpnet"
NEWER = {
    "asyncio": {"Runner", "TaskGroup", "timeout", "timeout_at"},
    "datetime": {"UTC"},
    "enum": {"StrEnum", "verify"},
    "hashlib": {"file_digest"},
    "itertools": {"batched"},
    "math": {"cbrt", "exp2", "sumprod"},
    "typing": {"LiteralString", "Never", "NotRequired", "Required", "Self", "assert_never", "override", "reveal_type"},
}
NEWER_MODULES = {"tomllib"}
GUARDED = {RUNTIME / "cli" / "run" / "site_file.py": {"tomllib"}}
"""Modules that are imported on newer versions only."""


def newer_names(tree: ast.AST) -> Iterator[str]:
    """What a module uses that Python 3.10 does not have."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{one.name}" for one in node.names if one.name in NEWER.get(node.module, ()))
            yield from {node.module} & NEWER_MODULES
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name in NEWER_MODULES)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NEWER.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.TryStar):
            yield "except*"


def test_the_packages_of_the_device_use_nothing_newer_than_python_3_10() -> None:
    found = {
        path: names
        for path in sorted(RUNTIME.rglob("*.py"))
        if (names := set(newer_names(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == GUARDED


def test_newer_names_are_found() -> None:
    code = "import tomllib\nfrom datetime import UTC, datetime\nimport math\nmath.cbrt(8)\ndatetime.now(UTC)\n"
    assert sorted(newer_names(ast.parse(code))) == ["datetime.UTC", "math.cbrt", "tomllib"]
