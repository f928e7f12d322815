"""Write the tables of models in the README and in docs/MEASUREMENTS.md from the newest result of peers.py; `--check`
tests whether they are up to date."""

from typing import Annotated

import typer

from harness.peers.headline import PROJECT, headline_table, newest_result, read_result, short_text, with_table
from harness.script import exit_on_error, script_app, show
from mmpnet.contract.errors import MmpnetError
from mmpnet.system.files import atomic_write

README = PROJECT / "README.md"
MEASUREMENTS = PROJECT / "docs" / "MEASUREMENTS.md"

app = script_app()


@app.command()
def headline(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if the table is not up to date.")
    ] = False,
) -> None:
    """Bring the tables up to date."""
    with exit_on_error():
        path = newest_result()
        document = read_result(path)
        tables = {
            README: short_text(document, path),
            MEASUREMENTS: headline_table(document, path, MEASUREMENTS.parent),
        }
        for page, table in tables.items():
            text = page.read_text()
            new = with_table(text, table)
            if not check:
                with atomic_write(page) as partial:
                    partial.write_text(new)
                show(f"{page.name}: table of {path.name}")
            elif new != text:
                raise MmpnetError(f"{page.name}: its table is not that of {path.name}; run benchmarks/headline.py")


if __name__ == "__main__":
    app()
