"""Columns of the Parquet files."""

from importlib.resources import files
from pathlib import Path

import pyarrow as pa

FRAMES = "frames"
"""Folder of the results, partitioned by camera and date."""
FAILED = "failed.parquet"
SCHEMA_DOCUMENT = "SCHEMA.md"
METADATA_KEY = b"mmpnet"

DETECTION = pa.struct(
    [
        pa.field("x1", pa.float32(), nullable=False),
        pa.field("y1", pa.float32(), nullable=False),
        pa.field("x2", pa.float32(), nullable=False),
        pa.field("y2", pa.float32(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("class_id", pa.int16(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("track_id", pa.int64()),
        pa.field("confirmed", pa.bool_(), nullable=False),
    ]
)
FRAME_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("time_s", pa.float64(), nullable=False),
        pa.field("time", pa.timestamp("ms")),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("detections", pa.list_(pa.field("element", DETECTION, nullable=False)), nullable=False),
        pa.field("model", pa.string(), nullable=False),
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
        pa.field("source", pa.string(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),
    ]
)
"""One row per file that could not be read, or not completely; frames: how many of its frames are in the results."""


def write_schema_document(folder: Path) -> None:
    """Write the description of the columns beside the results."""
    text = (files("mmpnet.archive") / SCHEMA_DOCUMENT).read_text(encoding="utf-8")
    (folder / SCHEMA_DOCUMENT).write_text(text, encoding="utf-8")
