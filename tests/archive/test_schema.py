"""The schema document describes every column, and other programs read the files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mmpnet.archive.results import result_files
from mmpnet.archive.schema import DETECTION, FAILED, FRAME_SCHEMA, FRAMES, SCHEMA_DOCUMENT
from support.archives import Archive

ROOT = Path(__file__).parents[2]


def test_document_page_and_files_describe_every_column(
    archive: Archive, recordings_folder: Path, tmp_path: Path
) -> None:
    archive.run(tmp_path, recordings_folder / "yard")
    text = (tmp_path / SCHEMA_DOCUMENT).read_text()
    page = (ROOT / "docs" / "reference" / "archive-schema.md").read_text().splitlines()
    assert [line for line in page if not line.startswith("<!--")] == text.replace("\n", "\n\n", 1).splitlines()
    (path,) = result_files(tmp_path)
    stored = pq.read_schema(path)
    element = stored.field("detections").type.value_type
    for field in [*stored, *element, *pq.read_schema(tmp_path / FAILED)]:
        assert f"| `{field.name}` |" in text
        assert f"| {field.metadata[b'description'].decode()} |" in text
    assert [*stored.names, *(field.name for field in element)] == [*FRAME_SCHEMA.names, *(f.name for f in DETECTION)]


def test_arrow_reads_camera_and_date_from_the_folders(
    archive: Archive, recordings_folder: Path, tmp_path: Path
) -> None:
    archive.run(tmp_path, recordings_folder)
    table = ds.dataset(tmp_path / FRAMES, partitioning="hive").to_table()
    found_types = {field.name: field.type for field in table.schema if field.name != "date"}
    assert found_types == {field.name: field.type for field in FRAME_SCHEMA}
    found = {(row["camera"], row["date"]) for row in table.to_pylist()}
    assert found == {("door", "2026-11-29"), ("yard", None)}
    times = table.filter(pa.compute.equal(table["camera"], "door"))["time"].to_pylist()
    assert f"{min(times)} {max(times)}" == "2026-11-29 07:30:00 2026-11-29 07:30:14.900000"
