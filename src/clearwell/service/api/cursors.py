"""Cursors: where the next page of an answer begins, and of which cut it is, in one word that callers hand back.

A cursor says nothing that its caller could not ask for, so it needs no secret: every part of it is checked for its
form, and it counts only for the same path, parameters and caller as the page that it came with.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from clearwell.application.access import Principal
from clearwell.errors import UsageError
from clearwell.values.cuts import Cut
from clearwell.values.instants import parse_instant
from clearwell.values.times import stored_text

LONGEST = 8_192
_LARGEST = 2**63 - 1
_LARGEST_MONEY = 10**38 - 1
_PAGING = {"cursor", "limit"}

Place = tuple[int | str, ...]


@dataclass(frozen=True)
class Cursor:
    """The cut that all pages are of, None where rows have none; the `place` of the last row; all rows' `total`."""

    place: Place
    cut: Cut | None = None
    total: int | None = None


def subject_of(request: Request, principal: Principal) -> str:
    """What a cursor counts for: the path, the parameters that choose rows, and who asks."""
    parameters = sorted(item for item in request.query_params.multi_items() if item[0] not in _PAGING)
    content = [request.url.path, parameters, principal.kind, principal.name]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def written(cursor: Cursor, subject: str) -> str:
    """The cursor as one word."""
    cut = cursor.cut
    parts = [stored_text(cut.effective_at), stored_text(cut.recorded_at), cut.sequence] if cut is not None else None
    content = json.dumps([1, subject, parts, list(cursor.place), cursor.total], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def read(text: str, subject: str, kinds: Sequence[type]) -> Cursor:
    """The cursor of a word, whose place has values of these kinds. Raises UsageError (`cursor_invalid`)."""
    try:
        if len(text) > LONGEST:
            raise ValueError("it is too long")
        content = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        version, of, parts, place, total = content
        if version != 1 or of != subject:
            raise ValueError("it belongs to another question")
        if [type(item) for item in place] != list(kinds):
            raise ValueError("it has another place")
        most = _LARGEST if tuple(kinds) == (int,) else _LARGEST_MONEY
        if not all(abs(item) <= most for item in place if isinstance(item, int)):
            raise ValueError("it has another place")
        if total is not None and type(total) is not int:
            raise ValueError("it has another total")
        return Cursor(tuple(place), _cut(parts), total)
    except (ValueError, TypeError, RecursionError) as error:
        message = "expected the next_cursor of the page before, with the same parameters and the same key"
        raise UsageError("cursor_invalid", message) from error


def _cut(parts: object) -> Cut | None:
    if parts is None:
        return None
    if not isinstance(parts, list) or [type(item) for item in parts] != [str, str, int]:
        raise ValueError("it has another cut")
    effective_at, recorded_at, sequence = parts
    if not 0 <= sequence <= _LARGEST:
        raise ValueError("it has another cut")
    return Cut(_instant(effective_at), _instant(recorded_at), sequence)


def _instant(text: str) -> datetime:
    return parse_instant(text)
