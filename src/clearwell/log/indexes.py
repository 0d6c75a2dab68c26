"""Indexes of the log's files: which row groups may hold a text, told by a few kilobytes of a file beside the log.

Each is derived from one file of the log, which never changes, and disposable: who finds none, or a damaged one, looks
at the log's file instead. Nothing of an index is believed but what its check sums vouch for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from clearwell.log.copying import make_folder, write_file
from clearwell.log.filters import PAGE_BYTES, Wanted, filter_pages, may_hold, text_fingerprint
from clearwell.log.footers import Footer, within
from clearwell.log.reader import LogReader

_FORMAT = b"clearwell index 1\n"
_FOLDER = "index"
_SIZE_BYTES = 4
_CHECK_BYTES = 4
_STORED_PAGE_BYTES = PAGE_BYTES + _CHECK_BYTES
_SMALL_BYTES = 32_768
"""A column that takes no more than this in a row group, unpacked, has no filter there: to read it takes little."""


class IndexUnusable(Exception):  # noqa: N818 - nothing is wrong: there is another way to the answer.
    """An index is damaged, of another file, or of hashes that this process would compute otherwise."""


class Index:
    """An index that is open. It has a head, for each column the ranges and where the filters are, and their pages."""

    def __init__(self, descriptor: int, name: str) -> None:
        """`name` is that of the log's file. Raises IndexUnusable, as `holding` does."""
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        start = len(_FORMAT) + _SIZE_BYTES
        if not (begin := os.pread(descriptor, start, 0)).startswith(_FORMAT):
            raise IndexUnusable
        size = int.from_bytes(begin[len(_FORMAT) :], "little")
        head = json.loads(self._piece(start, size))
        if (head["file"], head["fingerprint"]) != (name, text_fingerprint()):
            raise IndexUnusable
        self._columns, self._row_groups = head["columns"], head["row_groups"]
        self._body = start + size
        self._pages = self._body + head["columns_bytes"]

    def holding(self, column: str, wanted: Wanted | None) -> set[int]:
        """As `Footer.holding`; where ranges do not rule out a row group, filters may."""
        if column not in self._columns:
            return set()
        if self._columns[column] is None:
            return set(range(self._row_groups))
        start, size = self._columns[column]
        ranges, filters = json.loads(self._piece(self._body + start, size))
        found = within(ranges, wanted)
        return {item for item in found if self._may_hold(wanted, *filters[item])} if wanted else found

    def _may_hold(self, wanted: Wanted, first_page: int, pages: int) -> bool:
        def page(number: int) -> bytes:
            return self._piece(self._pages + (first_page + number) * _STORED_PAGE_BYTES, _STORED_PAGE_BYTES)

        return not pages or may_hold(wanted, pages, page)

    def _piece(self, start: int, size: int) -> bytes:
        piece = os.pread(self._descriptor, size, start) if start + size <= self._size else b""
        content = piece[_CHECK_BYTES:]
        if not content or piece != _checked(content):
            raise IndexUnusable
        return content


@contextmanager
def opened_index(log_file: Path) -> Iterator[Index]:
    """The index of a file of the log. Raises IndexUnusable, and OSError where there is none or it cannot be read."""
    descriptor = os.open(_path(log_file), os.O_RDONLY)
    try:
        yield Index(descriptor, log_file.name)
    finally:
        os.close(descriptor)


def index_files(log: LogReader) -> None:
    """Give every file of the log an index, where it has none that is usable, and remove those of files that are gone.

    Where a file cannot be read, or the disk refuses, there is none: nothing depends on it.
    """
    paths = [log.path(file) for file in log.files]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(write_index, paths):
            pass
    with suppress(OSError):
        for other in set(log.folder.with_name(_FOLDER).iterdir()) - {_path(path) for path in paths}:
            other.unlink()


def write_index(log_file: Path) -> None:
    """Write the index of a file of the log, unless it has one that is usable."""
    with suppress(OSError, IndexUnusable), opened_index(log_file):
        return
    with suppress(OSError, pa.ArrowException):
        content = _content(log_file)
        make_folder(_path(log_file).parent)
        write_file(_path(log_file), content)


def _content(log_file: Path) -> list[bytes]:
    """The index of a file of the log, by pieces."""
    footer = Footer(log_file)
    columns: dict[str, tuple[int, int] | None] = dict.fromkeys(footer.columns)
    body = b""
    pages: list[bytes] = []
    with parquet.ParquetFile(log_file, metadata=footer.metadata) as reader:
        for name in filter(footer.has_ranges, footer.columns):
            ranges, filters = footer.ranges(name), []
            for group, span in enumerate(ranges):
                is_small = footer.unpacked_bytes(name, group) <= _SMALL_BYTES
                own = [] if is_small or span is None else _filter(reader, name, group)
                filters.append((len(pages), len(own)))
                pages += own
            piece = _checked(json.dumps([ranges, filters]).encode())
            columns[name] = (len(body), len(piece))
            body += piece
    head = {
        "file": log_file.name,
        "fingerprint": text_fingerprint(),
        "row_groups": footer.metadata.num_row_groups,
        "columns": columns,
        "columns_bytes": len(body),
    }
    piece = _checked(json.dumps(head).encode())
    return [_FORMAT, len(piece).to_bytes(_SIZE_BYTES, "little"), piece, body, *map(_checked, pages)]


def _filter(reader: parquet.ParquetFile, column: str, group: int) -> list[bytes]:
    """The pages of the filter of a row group."""
    texts = pl.from_arrow(reader.read_row_group(group, columns=[column], use_threads=False).column(0))
    assert isinstance(texts, pl.Series)
    return filter_pages(texts.cast(pl.String))


def _path(log_file: Path) -> Path:
    return log_file.parent.with_name(_FOLDER) / f"{log_file.name}.index"


def _checked(content: bytes) -> bytes:
    """The content behind its check sum."""
    return crc32(content).to_bytes(_CHECK_BYTES, "little") + content
