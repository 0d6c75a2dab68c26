"""What a person does with records in quarantine: look, export, correct, and send them through the door again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from clearwell.application.auditing import note
from clearwell.application.catching_up import following
from clearwell.application.ingesting import open_door, take
from clearwell.application.workspace import Workspace, require_ledger
from clearwell.application.writing import writing
from clearwell.catalog import quarantine
from clearwell.catalog.quarantine import QuarantinedRecord
from clearwell.errors import UsageError
from clearwell.ingest.batches import Batch
from clearwell.ingest.door import Receipt
from clearwell.ingest.ndjson import NdjsonOptions, NdjsonReader
from clearwell.values.times import stored_text

_PAGE = 1_000
_PAGE_CHARACTERS = 48 << 20
"""The most records that are held at once, and the most text, unless a single record is longer."""


@dataclass(frozen=True)
class Retried:
    """What became of the records, and the numbers of those that are out of quarantine now."""

    receipt: Receipt
    released: tuple[int, ...]


def waiting_by_code(workspace: Workspace) -> dict[str, int]:
    """How many records wait, per rejection code."""
    require_ledger(workspace.periods())
    with workspace.catalog.read() as connection:
        return quarantine.waiting_counts(connection)


def quarantined(
    workspace: Workspace, *, code: str | None = None, everything: bool = False, limit: int = 100, after: int = 0
) -> list[QuarantinedRecord]:
    """Waiting records (with `everything`, those replayed or erased too) in order of number, beyond `after`."""
    require_ledger(workspace.periods())
    state = None if everything else quarantine.WAITING
    with workspace.catalog.read() as connection:
        return quarantine.quarantined(connection, state=state, code=code, limit=limit, after=after)


def one_quarantined(workspace: Workspace, number: int) -> QuarantinedRecord:
    """The record with this number. Raises UsageError when there is none."""
    require_ledger(workspace.periods())
    with workspace.catalog.read() as connection:
        found = quarantine.quarantined(connection, state=None, numbers=[number])
    if not found:
        raise UsageError("quarantine_number_unknown", f"expected the number of a record in quarantine, found {number}")
    return found[0]


def all_waiting(workspace: Workspace, code: str | None = None) -> Iterator[QuarantinedRecord]:
    """Every waiting record, in order of number, page by page."""
    require_ledger(workspace.periods())
    for numbers in _pages(workspace, code):
        yield from _numbered(workspace, numbers)


def retry(workspace: Workspace, numbers: Sequence[int] = (), corrected: bytes | None = None) -> Retried:
    """Send waiting records through the door again: these `numbers`, or all.

    `corrected` takes the place of the one record that `numbers` names. Whatever is still refused stays, with its
    present reason. Raises UsageError for a number that does not wait.
    """
    chosen = _chosen(workspace, numbers)
    if corrected is not None and len(numbers) != 1:
        raise UsageError("quarantine_number_needed", "a corrected record takes the place of exactly one: name it")
    line = _one_line(corrected) if corrected is not None else None
    total, released = Receipt(), list[int]()
    with writing(workspace) as lease, following(workspace) as follower:
        model, door = open_door(workspace, lease)
        limits = NdjsonOptions(record_bytes=workspace.settings.record_bytes, earlier_amounts=workspace.amount_names())
        reader = NdjsonReader(model, limits)
        for page in chosen:
            records = _numbered(workspace, page)
            if line is not None:
                records = [replace(records[0], record=line)]
            receipt = Receipt()
            for batch in _batches(reader, records):
                receipt += take(follower, door, door.check(batch))
            out = _released(workspace, records)
            if line is not None:
                out = page if receipt.accepted + receipt.duplicates else []
            with lease.write() as connection:
                quarantine.mark_replayed(connection, out, stored_text(workspace.clock()))
                told = {"tried": page, "released": out, "corrected": line is not None}
                note(connection, workspace, "quarantine.retry", **told)
            total += receipt
            released += out
    return Retried(total, tuple(released))


def _chosen(workspace: Workspace, numbers: Sequence[int]) -> list[list[int]]:
    if not numbers:
        require_ledger(workspace.periods())
        return list(_pages(workspace))
    chosen = list(dict.fromkeys(numbers))
    for number in chosen:
        state = one_quarantined(workspace, number).state
        if state != quarantine.WAITING:
            raise UsageError("quarantine_number_replayed", f"record {number} is not waiting: it was {state}")
    return [chosen[start : start + _PAGE] for start in range(0, len(chosen), _PAGE)]


def _pages(workspace: Workspace, code: str | None = None) -> Iterator[list[int]]:
    """The numbers that wait, in pages that fit into memory however large the records are."""
    with workspace.catalog.read() as connection:
        sizes = quarantine.waiting_sizes(connection, code)
    page, characters = list[int](), 0
    for number, length in sizes:
        if page and (len(page) == _PAGE or characters + length > _PAGE_CHARACTERS):
            yield page
            page, characters = [], 0
        page.append(number)
        characters += length
    if page:
        yield page


def _numbered(workspace: Workspace, numbers: Sequence[int]) -> list[QuarantinedRecord]:
    with workspace.catalog.read() as connection:
        return quarantine.quarantined(connection, state=None, numbers=numbers, limit=len(numbers))


def _batches(reader: NdjsonReader, chosen: Sequence[QuarantinedRecord]) -> Iterator[Batch]:
    """The records as batches that say where each came from at first. One of several lines can be no event."""
    whole = [item for item in chosen if b"\n" not in item.record]
    for source, items in groupby(whole, key=lambda item: item.reason.source):
        group = list(items)
        lines = np.array([item.reason.line for item in group], dtype=np.int64)
        start = 0
        for batch in reader.read(io.BytesIO(b"\n".join(item.record for item in group)), source):
            yield replace(batch, lines=lines[start : start + len(batch.lines)])
            start += len(batch.lines)


def _released(workspace: Workspace, chosen: Sequence[QuarantinedRecord]) -> list[int]:
    """Who was not put aside again: its row in quarantine was not counted once more."""
    seen = {item.number: item.seen_count for item in _numbered(workspace, [item.number for item in chosen])}
    return [item.number for item in chosen if b"\n" not in item.record and seen.get(item.number) == item.seen_count]


def _one_line(corrected: bytes) -> bytes:
    """A corrected record without line feeds. Raises UsageError unless it is one JSON object."""
    try:
        content = json.loads(corrected)
    except ValueError as error:
        raise UsageError("correction_unreadable", f"expected one JSON object, found: {error}") from error
    if not isinstance(content, dict):
        raise UsageError("correction_unreadable", f"expected one JSON object, found {type(content).__name__}")
    return b" ".join(corrected.split(b"\n")).strip()  # Between the tokens of JSON a line feed is white space.
