"""Write the README's headline table from the newest result of peers.py; `--check` says whether it is that already."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.errors import MmpnetError
from mmpnet.system.files import replacing

PROJECT = Path(__file__).parents[1]
README = PROJECT / "README.md"
RESULTS = PROJECT / "benchmarks" / "results"
BEGIN, END = "<!-- headline: begin -->\n", "<!-- headline: end -->\n"

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def headline(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 1 where it is old.")] = False,
) -> None:
    """Bring the README's table up to date."""
    with exit_on_error():
        text = README.read_text()
        path = newest_result()
        new = with_table(text, table(json.loads(path.read_text()), path))
        if check:
            if new != text:
                raise MmpnetError(f"README.md: its table is not {path.name}'s; run benchmarks/headline.py")
            return
        with replacing(README) as partial:
            partial.write_text(new)
        console().print(f"README.md: table of {path.name}")


def newest_result() -> Path:
    """The newest result of peers.py, by the date in its name. Raises: MmpnetError without one."""
    found = sorted(RESULTS.glob("*-peers-*.json"))
    if not found:
        raise MmpnetError(f"{RESULTS}: holds no result of peers.py")
    return found[-1]


def table(result: dict[str, Any], path: Path) -> str:
    """The table in markdown, fastest first, and where its numbers come from.

    Rows with `made_from` are left out: peers that an earlier version of peers.py quantized.
    """
    contestants = {name: row for name, row in result["contestants"].items() if "made_from" not in row}
    rows = sorted(contestants.items(), key=lambda item: item[1]["one thread"]["end_to_end_ms"])
    lines = ["| model | ms per frame, one thread | AP50 | AP | MB |", "| --- | --- | --- | --- | --- |"]
    for name, row in rows:
        shown = f"**{name}**" if row["family"] == "mmpnet" else name
        speed, size_mb = row["one thread"]["end_to_end_ms"], row["size_bytes"] / 1e6
        accuracies = " | ".join("–" if row[key] is None else f"{row[key]:.3f}" for key in ("AP50", "AP"))
        lines.append(f"| {shown} | {speed:.1f} | {accuracies} | {size_mb:.1f} |")
    machine = result["machine"]
    where = f"{machine['cpu']} ({', '.join(machine['instruction_sets'])}), ONNX Runtime {machine['onnxruntime']}"
    links = [f"[{name}]({file.relative_to(PROJECT).as_posix()})" for name, file in _files(path).items()]
    said = (
        f"{result['data']['pictures']} pictures, class person. Times: a {result['frame']} frame from pixels to boxes, "
        f"medians of {result['rounds']}, taking turns in one run, on one core of an {where} "
        f"(`{_command(contestants)}`, {', '.join(links)}).{_remarks(contestants)}"
    )
    return "\n".join([*lines, "", said, ""])


def _command(contestants: dict[str, Any]) -> str:
    """How the result was made."""
    timed = "".join(f" --timed {name}.onnx" for name, row in contestants.items() if "note" in row)
    return f"python benchmarks/peers.py --data DATA --peers PEERS{timed}"


def _remarks(contestants: dict[str, Any]) -> str:
    """Sentences on rows that do not speak for themselves."""
    without = [name for name, row in contestants.items() if row["AP"] is None]
    return f" A dash: accuracy not measured, only time ({', '.join(without)})." if without else ""


def _files(path: Path) -> dict[str, Path]:
    """A result's files by what they are."""
    return {"result": path, "picture": path.with_suffix(".png")}


def with_table(readme: str, text: str) -> str:
    """The README with this between its marks. Raises: MmpnetError where they are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MmpnetError(f"README.md: has no lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + text + end + after


if __name__ == "__main__":
    app()
