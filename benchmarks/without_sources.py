"""Write labeled images without those of some sources, such as the sources that state no terms.

The result is one COCO JSON for `mmp-train --data`, which names the images where they are.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from harness.script import Json, exit_on_error, script_app, show, write_json
from harness.training.coco_entries import coco_entries, write_entries
from mmpnet.contract.errors import DatasetError
from mmpnet.system.files import atomic_write, check_output

app = script_app()


@app.command()
def without_sources(
    data: Annotated[list[Path], typer.Argument(help="COCO JSON whose images have a source.")],
    without: Annotated[list[str], typer.Option(help="Source to leave out; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The COCO JSON to write.")],
    as_json: Json = False,
) -> None:
    """Leave out the images of some sources."""
    with exit_on_error():
        check_output(out, (".json",))
        entries = [entry for path in data for entry in coco_entries(path)]
        left_out = Counter(one["image"]["source"] for one in entries if one["image"]["source"] in without)
        for source in without:
            if source not in left_out:
                known = sorted({entry["image"]["source"] for entry in entries})
                raise DatasetError(f"--without {source}: no image is of it; there are {', '.join(known)}")
        kept = [entry for entry in entries if entry["image"]["source"] not in without]
        if not kept:
            raise DatasetError("every image is of a source that is left out; name fewer")
        with atomic_write(out) as partial:
            write_entries(partial, kept)
        counts = ", ".join(f"{source} {count}" for source, count in left_out.items())
        show(f"saved {out}: {len(kept)} images; left out {left_out.total()} ({counts})")
        if as_json:
            write_json({"file": str(out), "n_images": len(kept), "left_out": left_out})


if __name__ == "__main__":
    app()
