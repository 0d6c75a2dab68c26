"""Answers as they are sent: JSON or Arrow, made whole before the first byte goes out, and on disk when they are large.

So an answer never breaks off in the middle, and nobody who reads slowly keeps the projections from others.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, Any

import pyarrow as pa
from starlette.responses import Response, StreamingResponse

from clearwell.application.telling import plain
from clearwell.errors import UsageError

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"

_IN_MEMORY = 4 << 20
_PIECE = 256 << 10
_WIDE = pa.decimal128(38, 0)


def as_text(content: object) -> str:
    """JSON as the command line prints it: money in whole numbers, however large."""
    return json.dumps(content, default=plain, ensure_ascii=False)


def json_answer(content: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(as_text(content).encode("utf-8", errors="replace"), status, dict(headers or {}), JSON)


class Spool:
    """Bytes of an answer, in memory or in a file without a name. Raises UsageError beyond `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (The answer closes it.)

    @property
    def closed(self) -> bool:
        """For Arrow, which asks."""
        return self._file.closed

    def write(self, piece: bytes) -> int:
        """Add bytes."""
        self._size += len(piece)
        if self._size > self._most:
            self._file.close()
            raise UsageError("answer_too_large", f"expected an answer of at most {self._most} bytes: ask for less")
        self._file.write(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """For Arrow; there is nothing to do."""

    def answer(self, kind: str, headers: Mapping[str, str]) -> Response:
        """What was written, as an answer that reads it piece by piece."""
        self._file.seek(0)
        return StreamingResponse(
            _pieces(self._file), headers={**headers, "Content-Length": str(self._size)}, media_type=kind
        )


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece


def arrow_answer(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], headers: Mapping[str, str], most: int
) -> Response:
    """An Arrow IPC stream."""
    spool = Spool(most)
    with pa.ipc.new_stream(pa.PythonFile(spool, "w"), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return spool.answer(ARROW, headers)


def rows_as_arrow(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> pa.Table:
    """Rows as a table: money and other whole numbers beyond 64 bits as decimals, mappings and lists as JSON text.

    `names` are its columns where there are no rows.
    """
    names = list(dict.fromkeys([*names, *(name for row in rows[:1] for name in row)]))
    return pa.table({name: _column([row.get(name) for row in rows], name) for name in names})


def _column(values: Sequence[Any], name: str) -> pa.Array:
    known = [value for value in values if value is not None]
    if any(isinstance(value, (dict, list, tuple)) for value in known):
        return pa.array([None if value is None else as_text(value) for value in values], pa.string())
    if any(isinstance(value, datetime) for value in known):
        return pa.array(values, pa.timestamp("us", "UTC"))
    if name.endswith("money") or name in {"balance", "turnover", "amount"}:
        return pa.array(values, _WIDE)
    return pa.array(values) if known else pa.array(values, pa.int64() if name.endswith("_count") else pa.string())


def json_rows_answer(
    head: Mapping[str, object], rows: Iterable[Sequence[Any]], headers: Mapping[str, str], most: int
) -> Response:
    """The members of `head`, and `rows`, each as a list of values."""
    spool = Spool(most)
    spool.write((as_text(head)[:-1] + ', "rows": [').encode("utf-8", errors="replace"))
    lead = ""
    for row in rows:
        spool.write((lead + as_text([_value(item) for item in row])).encode("utf-8", errors="replace"))
        lead = ",\n "
    spool.write(b"]}\n")
    return spool.answer(JSON, headers)


def _value(value: Any) -> Any:
    """What JSON has: no numbers that are none, and nothing but text as the name of a member."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple():
            return [_value(item) for item in value]
        case dict():
            return {str(plain(name)) if name is not None else "": _value(item) for name, item in value.items()}
    return value
