"""The lines of a spool file: each event with its CRC-32, so that one that a crash cut short is told from a whole one.

clearwell-spool-1 4f1c…          the first line of a file: the format, and the file's name for ever
8d3a0c51 {"type":"charge.crea…   an event: eight hexadecimal digits of the CRC-32 of what follows the space
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

FORMAT = b"clearwell-spool-1 "
_DIGITS = 8


@dataclass(frozen=True)
class Frame:
    """A line of a file from `start` to `end`, in bytes; `line` is None when it is damaged."""

    start: int
    end: int
    line: bytes | None


def framed(line: bytes) -> bytes:
    """A line as it is written."""
    return b"%08x %b\n" % (zlib.crc32(line), line)


def first_line(name: str) -> bytes:
    """What a file begins with."""
    return FORMAT + name.encode() + b"\n"


def name_in(first: bytes) -> str | None:
    """The name of the file that begins so; None when it is no file of a spool."""
    head, ended, _ = first.partition(b"\n")
    if not ended or not head.startswith(FORMAT):
        return None
    return head.removeprefix(FORMAT).decode("ascii", "replace")


def frames(content: bytes, start: int, *, is_end: bool) -> Iterator[Frame]:
    """The whole lines of a piece of a file that begins at `start`; at its end, also one that was cut short."""
    place = 0
    while (end := content.find(b"\n", place)) >= 0:
        yield Frame(start + place, start + end + 1, _unframed(content[place:end]))
        place = end + 1
    if is_end and place < len(content):
        yield Frame(start + place, start + len(content), None)


def _unframed(text: bytes) -> bytes | None:
    digits, space, line = text[:_DIGITS], text[_DIGITS : _DIGITS + 1], text[_DIGITS + 1 :]
    return line if space == b" " and digits == b"%08x" % zlib.crc32(line) else None
