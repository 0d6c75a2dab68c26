"""Brings the projections up to the log: after a crash, after deletion, and from the very beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import polars as pl

from clearwell.flows.model import Model
from clearwell.ledger.posting import NOT_POSTED, Posted, post
from clearwell.log.ahead import one_ahead
from clearwell.log.reader import LogReader
from clearwell.projections.store import ProjectionStore

EVENTS_AT_ONCE = 500_000
"""Small segments are applied together, up to about this many events."""


def follow(
    store: ProjectionStore,
    log: LogReader,
    models: Mapping[str, Model],
    report: Callable[[int], None] = lambda _count: None,
) -> int:
    """Apply what the log has beyond the store's applied sequence; returns how many events that was.

    `models` holds every model version in the log; `report` is told the events done, batch by batch.
    """
    total = 0
    for posted, first, last in one_ahead(_posted(log, models, store.applied_sequence)):
        store.apply(posted, first, last)
        total += last - first + 1
        report(last - first + 1)
    return total


def _posted(log: LogReader, models: Mapping[str, Model], after: int) -> Iterator[tuple[Posted, int, int]]:
    """The entries of each batch of events, and the sequences that it begins and ends with."""
    for events in _batches(log, after):
        yield post(events, models), int(events["sequence"][0]), int(events["sequence"][-1])


def _batches(log: LogReader, after: int) -> Iterator[pl.DataFrame]:
    held: list[pl.DataFrame] = []
    sound = ""
    for file, events in log.after(after, without=NOT_POSTED):
        if file.name != sound:
            log.require_sound(file)  # A damaged file may be readable, and say something else.
            sound = file.name
        held.append(events)
        if sum(frame.height for frame in held) >= EVENTS_AT_ONCE:
            yield pl.concat(held, how="diagonal")
            held = []
    if held:
        yield pl.concat(held, how="diagonal")
