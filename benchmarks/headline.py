"""Write the README's table of models from the newest result of peers.py; `--check` tests whether it is up to date."""

from typing import Annotated

import typer

from harness.peers.headline import PROJECT, headline_table, newest_result, read_result, with_table
from harness.script import exit_on_error, script_app, show
from mmpnet.contract.errors import MmpnetError
from mmpnet.system.files import atomic_write

README = PROJECT / "README.md"

app = script_app()


@app.command()
def headline(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if the table is not up to date.")
    ] = False,
) -> None:
    """Bring the README's table up to date."""
    with exit_on_error():
        text, path = README.read_text(), newest_result()
        new = with_table(text, headline_table(read_result(path), path))
        if check:
            if new != text:
                raise MmpnetError(f"README.md: its table is not that of {path.name}; run benchmarks/headline.py")
            return
        with atomic_write(README) as partial:
            partial.write_text(new)
        show(f"README.md: table of {path.name}")


if __name__ == "__main__":
    app()
