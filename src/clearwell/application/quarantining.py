"""What a person does with records in quarantine: look, export, correct, and send them through the door again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

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
    workspace: Workspace, *, code: str | None = None, everything: bool = False, limit: int = 100
) -> list[QuarantinedRecord]:
    """Waiting records (with `everything`, those replayed too) in order of number."""
    require_ledger(workspace.periods())
    state = None if everything else quarantine.WAITING
    with workspace.catalog.read() as connection:
        return quarantine.quarantined(connection, state=state, code=code, limit=limit)


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
    last = 0
    while True:
        with workspace.catalog.read() as connection:
            page = quarantine.quarantined(connection, code=code, after=last, limit=_PAGE)
        if not page:
            return
        yield from page
        last = page[-1].number


def retry(workspace: Workspace, numbers: Sequence[int] = (), corrected: bytes | None = None) -> Retried:
    """Send waiting records through the door again: these `numbers`, or all.

    `corrected` takes the place of the one record that `numbers` names. Whatever is still refused stays, with its
    present reason. Raises UsageError for a number that does not wait.
    """
    chosen = _chosen(workspace, numbers)
    if corrected is not None:
        if len(numbers) != 1:
            raise UsageError("quarantine_number_needed", "a corrected record takes the place of exactly one: name it")
        chosen = [replace(chosen[0], record=_one_line(corrected))]
    total = Receipt()
    with writing(workspace) as lease:
        model, door = open_door(workspace, lease)
        reader = NdjsonReader(model, NdjsonOptions(record_bytes=workspace.settings.record_bytes))
        for batch in _batches(reader, chosen):
            total += take(workspace, door, batch)
        released = _released(workspace, chosen)
        if corrected is not None:
            released = [chosen[0].number] if total.accepted + total.duplicates else []
        with lease.write() as connection:
            quarantine.mark_replayed(connection, released, stored_text(workspace.clock()))
    return Retried(total, tuple(released))


def _chosen(workspace: Workspace, numbers: Sequence[int]) -> list[QuarantinedRecord]:
    if not numbers:
        return list(all_waiting(workspace))
    chosen = [one_quarantined(workspace, number) for number in dict.fromkeys(numbers)]
    for item in chosen:
        if item.state != quarantine.WAITING:
            raise UsageError("quarantine_number_replayed", f"record {item.number} is not waiting: it was replayed")
    return chosen


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
    seen = {item.number: item.seen_count for item in all_waiting(workspace)}
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
