"""Compaction: small files of the log become large ones with the same events, sorted so that a search reads little.

Neither content nor chain changes. Nothing is read that is not what it was when it was written, and the new file is read
back and compared before anything else may rely on it. Removes no file: see `log.retention`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from clearwell.errors import StorageError
from clearwell.flows.model import Model
from clearwell.log.manifest import Compaction, LogFile
from clearwell.log.reader import LogReader, with_instants
from clearwell.log.writer import SegmentFile, write_segment
from clearwell.values import columns

_WORTH_FILES = 16
_WORTH_SHARE = 4


def compactable(files: Sequence[LogFile], target_events: int) -> Iterator[tuple[LogFile, ...]]:
    """Runs of neighbouring files, each of which is worth being made one file of at most `target_events` events.

    A run is worth it when what joins its largest file is at least a quarter of that, or when it has many files: so an
    event is written anew a few times at most, however small the steps in which a log grows.
    """
    run: list[LogFile] = []
    for file in files:
        if run and sum(item.event_count for item in run) + file.event_count > target_events:
            if _is_worth_it(run):
                yield tuple(run)
            run = []
        run.append(file)
    if _is_worth_it(run):
        yield tuple(run)


def _is_worth_it(run: Sequence[LogFile]) -> bool:
    counts = [item.event_count for item in run]
    if len(run) < 2:
        return False
    return len(run) >= _WORTH_FILES or (sum(counts) - max(counts)) * _WORTH_SHARE >= max(counts)


def compacted(log: LogReader, files: Sequence[LogFile], models: Mapping[str, Model]) -> SegmentFile:
    """Write the events of `files`, which are next to each other, into one new file of the log's folder, durably.

    Raises StorageError when a file is not what the manifest says, and when the disk refuses; then nothing has changed.
    """
    for file in files:
        log.require_sound(file)
    events = pl.concat([log.events(file) for file in files], how="diagonal")
    first, last = files[0].segments[0].number, files[-1].segments[-1].number
    try:
        written = write_segment(log.folder, f"segments-{first:08d}-{last:08d}", _sorted_for_search(events, models))
        content = (log.folder / written.name).read_bytes()
    except OSError as error:
        raise StorageError("log_not_writable", f"the log cannot be written: {error}") from error
    read_back = with_instants(pl.scan_parquet(content)).sort("sequence").select(events.columns).collect()
    if hashlib.sha256(content).hexdigest() != written.sha256 or not read_back.equals(events):
        raise StorageError("compaction_differs", f"{written.name} was not read back as it was written: it is not used")
    return written


def compaction_row(number: int, files: Sequence[LogFile], written: SegmentFile, compacted_at: str) -> Compaction:
    """What the catalog says of a file that takes the place of `files`."""
    return Compaction(
        number=number,
        first_segment=files[0].segments[0].number,
        last_segment=files[-1].segments[-1].number,
        event_count=sum(item.event_count for item in files),
        file_name=written.name,
        file_bytes=written.bytes,
        file_sha256=written.sha256,
        compacted_at=compacted_at,
    )


def _sorted_for_search(events: pl.DataFrame, models: Mapping[str, Model]) -> pl.DataFrame:
    """Events that are led by one property together, by its value, so that few row groups can hold a value.

    What opens an account and what closes it become neighbours, which also compresses better than any other order.
    """
    parts = events.partition_by("model_version", "type", as_dict=True)
    lead = []
    for (version, name), part in parts.items():
        leading = leading_property(models[str(version)], str(name))
        value = pl.col(columns.property_column(leading)) if leading else pl.lit("")
        lead.append(part.with_columns(led_by=pl.lit(leading or ""), lead=value))
    return pl.concat(lead, how="diagonal").sort("led_by", "lead", "sequence").drop("led_by", "lead")


def leading_property(model: Model, event_type: str) -> str | None:
    """The event property that names an event's own thing: the first of a clearing account that its moves touch.

    Reservoirs count only where there is no such account; None when no account takes a property from the event.
    """
    sides = [side for move in model.event_types[event_type].moves for side in (move.source, move.destination)]
    by_kind = sorted(sides, key=lambda side: model.account_types[side.account_type].kind != "clearing")
    return next((item.value for side in by_kind for item in side.values if item.source == "property"), None)
