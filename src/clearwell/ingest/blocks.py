"""Cuts a stream into blocks of whole lines, and says where each line is. Knows nothing of what is in a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from clearwell.errors import DataError

Places = npt.NDArray[np.int64]

_RUN_BYTES = 1 << 20
"""So many bytes, and some arrays about them, are in a processor's own memory at once."""


@dataclass(frozen=True)
class BlockSizes:
    """Bytes read at a time, bytes of the longest line that is kept, and lines that a block has at most."""

    read_bytes: int
    kept_bytes: int
    lines: int


@dataclass(frozen=True)
class Block:
    """Whole lines: their bytes, and where each starts and ends, with its line feed; the last one may lack it."""

    content: bytes
    starts: Places
    ends: Places

    def line(self, place: int) -> bytes:
        """A line without what ends it."""
        return self.content[self.starts[place] : self.ends[place]].removesuffix(b"\n").removesuffix(b"\r")

    def lengths(self) -> Places:
        """The bytes of each line, without what ends it."""
        content = np.frombuffer(self.content, dtype=np.uint8)
        ended = content[self.ends - 1] == ord("\n")
        lengths: Places = self.ends - self.starts
        lengths -= ended & (lengths > 1) & (content[np.maximum(self.ends - 2, 0)] == ord("\r"))
        lengths -= ended
        return lengths

    def first_bytes(self, chosen: Places) -> npt.NDArray[np.uint8]:
        """The first byte of each of the `chosen` lines."""
        return np.frombuffer(self.content, dtype=np.uint8)[self.starts[chosen]]

    def runs(self) -> Iterator[tuple[int, int]]:
        """Lines next to each other, as the first and one beyond the last: about a megabyte at a time."""
        first = 0
        while first < len(self.ends):
            last = int(np.searchsorted(self.ends, self.starts[first] + _RUN_BYTES, side="right"))
            yield first, max(first + 1, last)
            first = max(first + 1, last)

    def not_utf_8(self) -> list[int]:
        """The positions of the lines that are not UTF-8."""
        content = memoryview(self.content)
        return [
            place
            for first, last in self.runs()
            if not _is_utf_8(content[self.starts[first] : self.ends[last - 1]])
            for place in range(first, last)
            if not _is_utf_8(content[self.starts[place] : self.ends[place]])
        ]

    def texts(self, chosen: Places) -> pl.DataFrame:
        """The `chosen` lines, which are UTF-8, as `text` beside their `position`."""
        offsets = np.append(self.starts, self.ends[-1:])
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.content)]
        texts = pa.Array.from_buffers(pa.large_binary(), len(self.starts), buffers).take(pa.array(chosen))
        return pl.DataFrame(
            {"position": chosen, "text": pl.Series(values=pl.from_arrow(texts.cast(pa.large_string())))}
        )


def _is_utf_8(content: memoryview) -> bool:
    try:
        str(content, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def blocks(stream: BinaryIO, source: str, sizes: BlockSizes) -> Iterator[Block]:
    """The lines of `stream`, about as many bytes at a time as are read at a time.

    Raises DataError, after what comes before it, at a line that is too long even for quarantine.
    """
    rest, lines = b"", 0
    while chunk := stream.read(sizes.read_bytes):
        end = chunk.rfind(b"\n") + 1
        first = chunk.find(b"\n") if end else len(chunk)
        if len(rest) + first > sizes.kept_bytes:
            raise DataError(
                "line_too_long",
                f"{source}: expected NDJSON, found after {lines} line(s) one of more than {sizes.kept_bytes} bytes, "
                "which is too long even for quarantine. What came before it is taken in",
            )
        if not end:
            rest += chunk
            continue
        for block in _parts(b"".join((rest, memoryview(chunk)[:end])), sizes.lines):
            lines += len(block.starts)
            yield block
        rest = chunk[end:]
    if rest:
        yield Block(rest, *line_bounds(rest))


def _parts(content: bytes, most_lines: int) -> Iterator[Block]:
    """The content as blocks of at most so many lines."""
    starts, ends = line_bounds(content)
    if len(starts) <= most_lines:
        yield Block(content, starts, ends)
        return
    for first in range(0, len(starts), most_lines):
        chosen = slice(first, first + most_lines)
        start = starts[first]
        yield Block(content[start : ends[chosen][-1]], starts[chosen] - start, ends[chosen] - start)


def line_bounds(content: bytes) -> tuple[Places, Places]:
    """Where the lines of `content` start, and where they end, each with its line feed."""
    characters = np.frombuffer(content, dtype=np.uint8)
    runs = range(0, len(content), _RUN_BYTES)
    feeds = [np.flatnonzero(characters[start : start + _RUN_BYTES] == ord("\n")) + (start + 1) for start in runs]
    ends = np.concatenate(feeds)
    if not len(ends) or ends[-1] != len(content):
        ends = np.append(ends, len(content))
    return np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]]), ends
