"""Bodies of requests: read within limits, unpacked within limits, and a JSON array turned into lines."""

from __future__ import annotations

import json
import zlib

import pyarrow as pa
from fastapi import Request

from clearwell.errors import DataError, UsageError

_PIECE = 1 << 20
_MOST_MEMBERS = 1_000
"""Of a gzip body: each costs a copy of all that follows it."""


async def body_of(request: Request, most: int) -> bytes:
    """The body as it was sent. Raises UsageError (`body_too_large`) before more than `most` bytes are held."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    pieces, size = list[bytes](), 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise _too_large(most)
        pieces.append(piece)
    return b"".join(pieces)


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """The body without its `Content-Encoding`. Raises UsageError for another one, or more than `most` bytes."""
    try:
        match encoding.strip().lower():
            case "" | "identity":
                return body
            case "gzip":
                return _gunzipped(body, most)
            case "zstd":
                return _unzstd(body, most)
    except (zlib.error, OSError, pa.ArrowException, EOFError) as error:
        raise DataError("body_damaged", f"expected a sound body in {encoding}, found: {error}") from error
    raise UsageError("encoding_unknown", f"expected a Content-Encoding of gzip or zstd, found {encoding!r}")


def _gunzipped(body: bytes, most: int) -> bytes:
    pieces, size, rest, members = list[bytes](), 0, body, 0
    while rest:
        members += 1
        if members > _MOST_MEMBERS:
            raise EOFError(f"expected at most {_MOST_MEMBERS} members")
        member = zlib.decompressobj(wbits=31)
        while True:
            piece = member.decompress(rest, _PIECE)
            size += len(piece)
            if size > most:
                raise _too_large(most)
            pieces.append(piece)
            rest = member.unconsumed_tail
            if member.eof:
                rest = member.unused_data
                break
            if not rest and not piece:
                raise EOFError("it ends too early")
    return b"".join(pieces)


def _unzstd(body: bytes, most: int) -> bytes:
    stream = pa.CompressedInputStream(pa.BufferReader(body), "zstd")
    pieces, size = list[bytes](), 0
    while piece := stream.read(_PIECE):
        size += len(piece)
        if size > most:
            raise _too_large(most)
        pieces.append(piece)
    return b"".join(pieces)


def as_lines(body: bytes) -> bytes:
    """The elements of a JSON array as lines of NDJSON, each as it was written. Raises DataError when it is none."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise DataError("body_damaged", f"expected UTF-8, found: {error}") from error
    decode, lines = json.JSONDecoder().raw_decode, list[str]()
    place = _after_space(text, 0)
    if text[place : place + 1] != "[":
        raise DataError("body_damaged", "expected a JSON array of records")
    place = _after_space(text, place + 1)
    try:
        while text[place : place + 1] != "]" or (lines and text[place - 1] == ","):
            start = place
            _value, place = decode(text, place)
            lines.append(text[start:place].replace("\n", " ").replace("\r", " "))
            place = _after_space(text, place)
            if text[place : place + 1] == ",":
                place = _after_space(text, place + 1)
            elif text[place : place + 1] != "]":
                raise ValueError(f"expected , or ] at character {place}")
    except (ValueError, RecursionError) as error:
        raise DataError("body_damaged", f"expected a JSON array of records, found: {error}") from error
    if _after_space(text, place + 1) != len(text):
        raise DataError("body_damaged", f"expected nothing after the array, found more at character {place + 1}")
    return "\n".join(lines).encode()


def _after_space(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\t", "\n", "\r") and place < len(text):
        place += 1
    return place


def _too_large(most: int) -> UsageError:
    return UsageError("body_too_large", f"expected at most {most} bytes: send less at once")
