"""Says which file of the log it was when an engine cannot read it; every other error passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from clearwell.errors import StorageError
from clearwell.log.reader import LogReader


@contextmanager
def reading(log: LogReader) -> Iterator[None]:
    """Raise StorageError (`segment_unreadable`) for an error of DuckDB about a file of the log."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        name = next((item.name for item in log.files if item.name in text), None)
        if name is None:
            raise
        message = f"{name} of the log cannot be read: {text.splitlines()[0]}. Run `clearwell verify`."
        raise StorageError("segment_unreadable", message) from error
