"""Ask the results of an archive by SQL, with DuckDB over the Parquet files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import FSSpecHandler, PyFileSystem

from mmpnet.archive.places import Place
from mmpnet.archive.results import result_files
from mmpnet.archive.schema import FRAME_SCHEMA
from mmpnet.archive.settings import require_manifest
from mmpnet.contract.errors import MmpnetError, first_line
from mmpnet.system.buckets import BucketPath, file_system

VIEWS = """
create view frames as
    select *, extract(hour from time)::int as hour, cast(time as date) as date from rows;
create view detections as
    select source, camera, frame, time_s, time, date, hour, width, height,
        d.x1 as x1, d.y1 as y1, d.x2 as x2, d.y2 as y2, d.score as score, d.class_id as class_id, d.name as name,
        d.track_id as track_id, d.confirmed as confirmed
    from (select * exclude (detections), unnest(detections) as d from frames);
create view tracks as
    select source, camera, track_id, any_value(name) as name, bool_or(confirmed) as confirmed,
        min(time_s) as start_s, max(time_s) as end_s, max(time_s) - min(time_s) as seconds,
        min(time) as start, max(time) as "end", min(date) as date, extract(hour from min(time))::int as hour,
        count(*) as frames, max(score) as score
    from detections where track_id is not null group by source, camera, track_id;
"""
"""frames has one row per frame, detections one per box, and tracks one per person in a video."""
COLUMNS = "source, camera, frame, time_s, time, x1, y1, x2, y2, score, name, track_id"
"""Columns of the detections that meet a condition."""
_STATEMENT = re.compile(r"\s*(select|with|from|describe|summarize|pivot)\b", re.IGNORECASE)
_CONFIG: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
"""DuckDB would download extensions when a query mentions an address."""


_ROWS = 1_000


class QueryError(MmpnetError):
    """A query is no SQL, or names a column that does not exist."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The names of the columns, and the rows one by one."""

    names: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def opened(folder: Place) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A connection with the views `frames`, `detections` and `tracks` of a folder of results; it reads nothing else.

    Raises: OutputError if the folder has no manifest.
    """
    require_manifest(folder)
    with duckdb.connect(config=_CONFIG) as connection:
        files = result_files(folder)
        if isinstance(folder, BucketPath):
            connection.register("rows", _rows_of_bucket([path.key for path in files if isinstance(path, BucketPath)]))
        elif files:
            connection.read_parquet([str(path) for path in files], hive_partitioning=False).create_view("rows")
        else:
            nothing = pa.Table.from_pylist([], FRAME_SCHEMA)
            connection.from_arrow(nothing).create_view("rows")
        connection.execute(VIEWS)
        if isinstance(folder, Path):
            connection.execute("set allowed_directories = [$folder]", {"folder": str(folder)})
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        yield connection


def _rows_of_bucket(keys: list[str]) -> "ds.Dataset":
    """The files as Arrow reads them: DuckDB itself would have to download an extension for buckets."""
    system = PyFileSystem(FSSpecHandler(file_system()))
    return ds.dataset(keys, schema=FRAME_SCHEMA, format="parquet", filesystem=system)


def ask(connection: "duckdb.DuckDBPyConnection", query: str) -> Answer:
    """The rows of a SELECT statement, or the detections that meet a condition, in order of source and frame.

    Raises: QueryError if the query cannot be run; also while the rows are read.
    """
    if not _STATEMENT.match(query):
        query = f"select {COLUMNS} from detections where ({query}\n) order by source, frame, score desc"
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryError("expected one condition, or one SELECT statement over frames, detections or tracks")
        connection.execute(query)
    except duckdb.Error as error:
        raise _explained(error) from error
    return Answer(tuple(column[0] for column in connection.description or ()), _rows(connection))


def _rows(connection: "duckdb.DuckDBPyConnection") -> Iterator[tuple[Any, ...]]:
    try:
        while rows := connection.fetchmany(_ROWS):
            yield from rows
    except duckdb.Error as error:
        raise _explained(error) from error


def _explained(error: duckdb.Error) -> QueryError:
    return QueryError(f"{first_line(error)}; `describe detections` lists the columns")
