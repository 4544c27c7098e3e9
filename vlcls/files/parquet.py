"""Columns of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlcls.errors import VlclsError, library
from vlcls.files.reading import open_regular

#: Rows of a table that is read whole.
MAX_ROWS = 100_000_000


def read_parquet(path: str | Path, columns: Sequence[str] | None, error: type[VlclsError]) -> Any:
    """Some columns of a Parquet file, or all, as a `pyarrow.Table`.

    Raises:
        error: Not such a file, damaged, without one of the columns, or of more than `MAX_ROWS`.
        MissingExtraError: pyarrow is not installed.
    """
    with open_parquet(path, error) as opened:
        names = opened.schema_arrow.names
        missing = [name for name in columns or () if name not in names]
        if missing:
            raise error(f"{path}: no column {missing[0]!r}; it has {', '.join(names)}")
        if opened.metadata.num_rows > MAX_ROWS:
            raise error(f"{path}: {opened.metadata.num_rows:,} rows, more than {MAX_ROWS:,}")
        table = opened.read(columns=None if columns is None else list(columns))
        table.validate(full=True)  # texts that are none would be found only when they are taken out
        return table


def parquet_schema(path: str | Path, error: type[VlclsError]) -> Any:
    """The columns of a Parquet file, as a `pyarrow.Schema`; raises as `read_parquet` does."""
    with open_parquet(path, error) as opened:
        return opened.schema_arrow


@contextmanager
def open_parquet(path: str | Path, error: type[VlclsError]) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile`; what fails while it is read raises `error`, too."""
    pyarrow = library("pyarrow", "reading Parquet files", "parquet")
    parquet = library("pyarrow.parquet", "reading Parquet files", "parquet")
    with open_regular(path, error) as file:
        try:
            yield parquet.ParquetFile(file)
        except VlclsError:
            raise
        except (pyarrow.ArrowException, OSError, LookupError, ValueError, TypeError, MemoryError) as reason:
            raise error(f"{path}: not a whole Parquet file: {reason}") from reason
