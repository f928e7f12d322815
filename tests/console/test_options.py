"""Options made from the fields of a struct."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
import typer
from msgspec import Meta
from typer.testing import CliRunner

from mmpnet.console.options import with_options


class Colors(msgspec.Struct, frozen=True):
    """Options for the test."""

    hue: Annotated[int, Meta(ge=0, le=360, description="Angle.")] = 20
    rate: Annotated[float, Meta(gt=0, le=1e9, description="Rate.")] = 0.5
    kind: Annotated[Literal["warm", "cold"], Meta(description="Kind.")] = "warm"
    step: Annotated[Literal[8, 16], Meta(description="Step.")] = 8
    is_on: Annotated[bool, Meta(description="On.", extra={"flag": "on"})] = True
    dry: Annotated[bool, Meta(description="Dry.")] = False
    size_hw: Annotated[tuple[int, int], Meta(description="Size.", extra={"flag": "size"})] = (192, 320)
    shares: Annotated[tuple[float, ...], Meta(description="Shares.")] = (0.5, 2.0)
    names: Annotated[tuple[str, ...], Meta(description="Names.", extra={"flag": "name"})] = ()
    counts: Annotated[tuple[Annotated[int, Meta(le=9)], ...], Meta(description="Counts.")] = (2,)
    weights: Annotated[tuple[tuple[str, float], ...], Meta(description="Weights.")] = ()
    file: Annotated[str | None, Meta(description="File.", extra={"path": True})] = None
    folders: Annotated[tuple[str, ...], Meta(description="Folders.", extra={"path": True})] = ()
    threads: Annotated[int, Meta(description="Threads.", extra={"default": "all"})] = 7
    again: Annotated[bool | None, Meta(description="Again.")] = None
    place: Annotated[str | None, Meta(description="Place.", extra={"envvar": "TEST_PLACE"})] = None
    out: Annotated[Path | None, Meta(description="Out.")] = None
    secret: Annotated[str | None, Meta(description="Nobody sees this.", extra={"hidden": True})] = None


DEFAULTS = msgspec.structs.asdict(Colors())


def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
    app = typer.Typer()
    seen: dict[str, Any] = {}

    @app.command()
    @with_options({"Colors": Colors})
    def command(loud: Annotated[bool, typer.Option("--loud")] = False, *, options: dict[str, Any]) -> None:
        """What it does."""
        seen.update(options, loud=loud)

    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, seen, result.output


def test_without_a_flag_every_field_has_its_default() -> None:
    code, seen, output = run()
    assert code == 0, output
    assert seen == {**DEFAULTS, "loud": False}


def test_flags_give_values_of_the_fields_types(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = "--loud --hue 3 --rate 2 --kind cold --step 16 --no-on --dry --size 64 --shares 1,2.5 --name a --name b"
    arguments += " --counts 3 --counts 4 --weights a=b=2 --file f.txt --folders g --threads 2"
    code, seen, output = run(*arguments.split())
    assert code == 0, output
    assert seen == {
        "loud": True,
        "hue": 3,
        "rate": 2.0,
        "kind": "cold",
        "step": 16,
        "is_on": False,
        "dry": True,
        "size_hw": (64, 64),
        "shares": (1.0, 2.5),
        "names": ("a", "b"),
        "counts": (3, 4),
        "weights": (("a=b", 2.0),),
        "file": str(tmp_path / "f.txt"),
        "folders": (str(tmp_path / "g"),),
        "threads": 2,
        "again": None,
        "place": None,
        "out": None,
        "secret": None,
    }


def test_a_switch_without_a_default_can_be_switched_both_ways() -> None:
    assert run("--again")[1]["again"] is True
    assert run("--no-again")[1]["again"] is False


def test_a_path_stays_as_it_is_typed_and_a_variable_gives_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PLACE", "here")
    _, seen, _ = run("--out", "out/x", "--secret", "s")
    assert (seen["place"], seen["out"], seen["secret"]) == ("here", Path("out/x"), "s")


def test_the_help_shows_what_the_fields_declare() -> None:
    code, _, output = run("--help")
    assert code == 0
    for expected in ("What it does.", "Colors", "Angle.", "0<=x<=360", "192x320", "0.5,2", "warm|cold", "(all)"):
        assert expected in output
    assert "1000000000" not in output, "bounds that nobody meets"
    assert "--no-dry" not in output
    assert "Nobody sees this." not in output
    assert "TEST_PLACE" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hue", "361"], "--hue"),
        (["--kind", "hot"], "--kind"),
        (["--size", "big"], "expected N or HEIGHTxWIDTH"),
        (["--shares", "1,b"], "expected numbers separated by commas"),
        (["--counts", "10"], "--counts"),
        (["--weights", "a"], "expected PATTERN=WEIGHT"),
    ],
)
def test_text_that_is_not_a_value_exits_with_2_and_names_the_flag(arguments: list[str], message: str) -> None:
    code, _, output = run(*arguments)
    assert code == 2
    assert message in output
    assert arguments[0] in output
