"""Columns of the Parquet files."""

from collections.abc import Iterable

import pyarrow as pa

from mmpnet.archive.places import Place, writing

FRAMES = "frames"
"""Folder of the results, partitioned by camera and date."""
FAILED = "failed.parquet"
SCHEMA_DOCUMENT = "SCHEMA.md"
METADATA_KEY = b"mmpnet"
NO_DATE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, DuckDB and Arrow read as null."""

_MEANING = b"description"


def _column(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    """A column whose meaning is also stored in the Parquet files."""
    return pa.field(name, kind, nullable=nullable, metadata={_MEANING: meaning.encode()})


DETECTION = pa.struct(
    [
        _column("x1", pa.float32(), "left edge of the box, in pixels of the frame"),
        _column("y1", pa.float32(), "upper edge of the box"),
        _column("x2", pa.float32(), "right edge of the box, which is half-open: `x2 - x1` is its width"),
        _column("y2", pa.float32(), "lower edge of the box"),
        _column("score", pa.float32(), "0 to 1"),
        _column("class_id", pa.int16(), "class by number, from 1"),
        _column("name", pa.string(), "class by name"),
        _column(
            "track_id",
            pa.int64(),
            "number of the person in this video, from 1; null for a detection without a track",
            nullable=True,
        ),
        _column("confirmed", pa.bool_(), "whether the track is certain enough to count"),
    ]
)
FRAME_SCHEMA = pa.schema(
    [
        _column("source", pa.string(), "path or address of the video or image"),
        _column("camera", pa.string(), "name of the camera: the folder of the recording, or `--camera-pattern`"),
        _column(
            "frame", pa.int64(), "number of the frame in its video, from 0, skipped frames included; 0 for an image"
        ),
        _column("time_s", pa.float64(), "presentation time in seconds since the first frame of the video"),
        _column(
            "time",
            pa.timestamp("ms"),
            "clock time of the frame, without time zone: the time in the name of the recording plus `time_s`; null "
            "if the name has none",
            nullable=True,
        ),
        _column("width", pa.int32(), "width of the frame in pixels"),
        _column("height", pa.int32(), "height of the frame in pixels"),
        _column(
            "detections",
            pa.list_(pa.field("element", DETECTION, nullable=False)),
            "what was found, best first; may be empty",
        ),
        _column("model", pa.string(), "SHA-256 of the model file"),
    ]
)
"""One row per frame."""
RAW_SCHEMA = pa.schema(
    [
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("position_ms", pa.float64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("xyxy", pa.list_(pa.float32())),
        pa.field("score", pa.list_(pa.float32())),
        pa.field("class_id", pa.list_(pa.int64())),
    ]
)
"""One row per decoded frame of a part of a video; score is null for a frame that was decoded but not used."""
FAILED_SCHEMA = pa.schema(
    [
        _column("source", pa.string(), "path or address of the video or image"),
        _column("camera", pa.string(), "name of the camera"),
        _column("reason", pa.string(), "what is wrong with it"),
        _column("frames", pa.int64(), "how many of its frames are in the results"),
    ]
)
"""One row per file that could not be read, or not completely."""


def schema_document() -> str:
    """The description of the columns, as Markdown."""
    return f"""\
# Columns of the results of mmp-archive

`{FRAMES}/camera=NAME/date=YYYY-MM-DD/FILE.parquet` has one row per frame of a video that was used, or
per image. The names of folders are percent-encoded; `date={NO_DATE}` means that
the name of the recording has no time. The Parquet files hold these descriptions, too.

{_table(FRAME_SCHEMA)}

Fields of one element of `detections`:

{_table(DETECTION)}

`{FAILED}` has one row per file that could not be read, or not completely:

{_table(FAILED_SCHEMA)}

`manifest.json` has the settings, the hash of the model, the totals, the number of frames by
execution provider, and `finished_at`, which is null while a run works and after it was stopped.
`model.onnx` is the model of the run. The metadata of each Parquet file (`mmpnet`, as JSON) name its
sources, what failed in them, and its frames by execution provider.
"""


def _table(fields: Iterable[pa.Field]) -> str:
    rows = [f"| `{one.name}` | {_type_name(one)} | {one.metadata[_MEANING].decode()} |" for one in fields]
    return "\n".join(["| column | type | meaning |", "|---|---|---|", *rows])


def _type_name(field: pa.Field) -> str:
    name = "list of struct" if pa.types.is_list(field.type) else str(field.type)
    return f"{name} or null" if field.nullable else name


def write_schema_document(folder: Place) -> None:
    """Write the description of the columns beside the results. Raises: OutputError if it cannot be written."""
    with writing(folder / SCHEMA_DOCUMENT) as partial:
        partial.write_text(schema_document(), encoding="utf-8")
