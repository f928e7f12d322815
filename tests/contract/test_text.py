"""Untrusted text."""

import io
import sys

import pytest
from rich.table import Table

from mmpnet.console import command
from mmpnet.contract.text import counted, visible

EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202ename\x7f"


def test_control_characters_are_shown_not_done() -> None:
    assert visible(EVIL) == r"\x1b[2J\x1b]0;title\x07\x9b31m\x202ename\x7f"
    assert visible("Büro\tno. 1\n") == "Büro\tno. 1\n"


@pytest.mark.parametrize("in_table", [True, False])
def test_no_message_controls_the_terminal(in_table: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    table = Table()
    table.add_row(EVIL)
    command.console().print(table if in_table else EVIL)
    assert r"\x1b[2J" in said.getvalue()
    assert not set(said.getvalue()) & {"\x1b", "\x07", "\x9b", "\x7f", "\u202e"}


def test_colors_of_our_own_stay() -> None:
    said = io.StringIO()
    command.SafeConsole(file=said, force_terminal=True, color_system="standard").print("[red]red[/red]\x1b")
    assert "\x1b[31mred" in said.getvalue()
    assert r"\x1b" in said.getvalue()


def test_verbs_agree_with_their_counts() -> None:
    assert counted(1, "box", ("is", "are")) == "1 box is"
    assert counted(2, "box", ("is", "are")) == "2 boxes are"
    assert counted(2, "other class") == "2 other classes"


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (0, "box", "0 boxes"),
        (1, "frame", "1 frame"),
        (2, "frame", "2 frames"),
        (2, "process", "2 processes"),
        (2, "entry", "2 entries"),
        (3, "day", "3 days"),
        (2, "match", "2 matches"),
    ],
)
def test_nouns_agree_with_their_counts(count: int, noun: str, expected: str) -> None:
    assert counted(count, noun) == expected
