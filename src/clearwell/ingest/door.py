"""The door: takes batches of records, and answers when what they brought is durable.

Order of a commit: the segment's file and folder are synced, then one catalog transaction holds the manifest row and the
refused records, then the caller is told. A crash before the transaction leaves nothing but a file that no row names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from clearwell.catalog import manifest, quarantine
from clearwell.catalog.lease import WriterLease
from clearwell.errors import DataError, StorageError
from clearwell.flows.model import Model
from clearwell.ingest.batches import Batch, first_applicable
from clearwell.ingest.duplicates import deduplicate, recorded_before
from clearwell.ingest.identities import Identities
from clearwell.ingest.personal import Decryption, Encryption
from clearwell.ingest.recent import RecentEvents
from clearwell.ledger.posting import Posted, post
from clearwell.ledger.validation import Rules, Validated, validate
from clearwell.log.manifest import GENESIS, Segment
from clearwell.log.reader import LogReader
from clearwell.log.writer import SegmentFile, Timed, untimed, write_segment
from clearwell.values import columns
from clearwell.values.currencies import Currencies
from clearwell.values.frames import looked_up, repeated
from clearwell.values.times import INSTANT, stored_text

POSTED_AT_ONCE = 500_000
"""So many events are posted, and then folded, at once: more take more memory, and no less time."""

_ORIGINS_AT_ONCE = 500


@dataclass(frozen=True)
class Receipt:
    """What became of records. The sequences are None when nothing was accepted."""

    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None

    def __add__(self, later: Receipt) -> Receipt:
        return Receipt(
            self.accepted + later.accepted,
            self.duplicates + later.duplicates,
            self.quarantined + later.quarantined,
            later.first_sequence if self.first_sequence is None else self.first_sequence,
            self.last_sequence if later.last_sequence is None else later.last_sequence,
        )


@dataclass(frozen=True)
class DoorOptions:
    """What the door needs to know: where the log is, what is in force, and the clock.

    With `imports`, events keep the `recorded_at` that they bring. `timed` measures the steps `sync` and `commit`.
    """

    log_folder: Path
    identity_folder: Path
    model: Model
    in_force_since: datetime
    currencies: Currencies
    future_limit: timedelta
    clock: Callable[[], datetime]
    encryption: Encryption
    decryption: Decryption
    imports: bool = False
    timed: Timed = untimed


@dataclass(frozen=True)
class PostedEvents:
    """The entries of the events `first_sequence` to `last_sequence`."""

    posted: Posted
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True)
class Checked:
    """A batch, and which of its records can become events."""

    batch: Batch
    validated: Validated


@dataclass(frozen=True)
class Taken:
    """What became of a batch: in all, and by the positions of its records.

    `accepted` are the positions of new events in the order of their sequences, `duplicates` those of repeated ones, and
    `rejections` a frame of rejections. `posted` are the entries of the new events, for projections.
    """

    receipt: Receipt
    accepted: pl.Series
    duplicates: pl.Series
    rejections: pl.DataFrame
    posted: Sequence[PostedEvents] = ()


Beside = Callable[[Connection, Taken], None]
"""Writes to the catalog what is to be committed together with a batch."""


def _nothing_beside(_connection: Connection, _taken: Taken) -> None:
    pass


class Door:
    """The way into a log, for whoever has its writer's lease."""

    def __init__(self, lease: WriterLease, reader: LogReader, options: DoorOptions) -> None:
        """`reader` sees the whole log as it is now."""
        self._lease = lease
        self._options = options
        self.log = reader
        self._identities = Identities(options.identity_folder, reader)
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="door")
        self._remembered: Future[None] | None = None
        self._recent = RecentEvents()

    def reread(self, log: LogReader) -> None:
        """Read the same events from other files, as after a compaction; not while a batch is taken in."""
        if log.last_sequence != self.log.last_sequence:
            raise AssertionError(f"the log ends at {log.last_sequence}, not at {self.log.last_sequence}")
        self.log = log

    def check(self, batch: Batch) -> Checked:
        """Hold a batch against the rules. Another thread may do so while an earlier batch is taken in."""
        options = self._options
        rules = Rules(options.model, options.currencies, options.clock(), options.future_limit, options.imports)
        return Checked(batch, validate(batch.records, rules))

    def take(self, checked: Checked, *, whole: bool = False, beside: Beside = _nothing_beside) -> Taken:
        """Take a batch in. On return, its accepted events are durable and its refused records are in quarantine.

        A batch that is to be taken in `whole`, and has a record that is refused, leaves nothing behind; `beside` is not
        called then.
        Raises StorageError when the disk or the catalog refuses; then nothing of the batch is acknowledged, and it can
        be taken again.
        """
        batch, recorded_at = checked.batch, self._next_instant()
        fresh, found = self._told_apart(checked, recorded_at)
        if whole and found.receipt.quarantined:
            return replace(found, receipt=Receipt(duplicates=found.receipt.duplicates))
        refused = _with_origin(batch, found.rejections)
        if not fresh.is_empty():
            return self._commit(fresh, refused, recorded_at, found, beside)
        with self._lease.write() as connection:
            quarantine.put_aside(connection, refused, stored_text(recorded_at))
            beside(connection, found)
        return found

    def _told_apart(self, checked: Checked, recorded_at: datetime) -> tuple[pl.DataFrame, Taken]:
        """The new events of a batch, and what is to become of it but for these."""
        batch, validated = checked.batch, checked.validated
        if self._remembered is not None:
            self._remembered.result()
        rejections = first_applicable(batch.rejections, validated.rejections)
        events = validated.events
        if not batch.rejections.is_empty():
            events = events.join(rejections, on="position", how="anti", maintain_order="left")
        events = self._options.encryption.encrypted(events, stored_text(recorded_at))
        told_apart = deduplicate(events, self._identities, self._events_at, self._options.decryption)
        duplicates = told_apart.duplicates
        if not validated.refused.is_empty():
            whole = validated.refused.join(batch.rejections, on="position", how="anti")
            before = recorded_before(whole, self._identities, self._events_at, self._options.decryption)
            rejections = rejections.join(before, on="position", how="anti", maintain_order="left")
            duplicates = pl.concat([duplicates, before["position"]])
        if not told_apart.conflicts.is_empty():
            rejections = pl.concat([rejections, told_apart.conflicts]).sort("position")
        receipt = Receipt(duplicates=len(duplicates), quarantined=rejections.height)
        fresh = told_apart.fresh
        return fresh, Taken(receipt, fresh["position"], duplicates, rejections)

    def _events_at(self, sequences: npt.NDArray[np.int64]) -> pl.DataFrame:
        return self._recent.at(sequences, self.log)

    def _commit(
        self,
        fresh: pl.DataFrame,
        refused: Iterator[tuple[quarantine.Reason, bytes]],
        recorded_at: datetime,
        found: Taken,
        beside: Beside,
    ) -> Taken:
        first = self.log.last_sequence + 1
        if self._options.imports:
            self._require_order(fresh)
        events = self._as_recorded(fresh, first, recorded_at)
        number = self.log.segments[-1].number + 1 if self.log.segments else 1
        options = self._options
        writing = self._beside.submit(write_segment, options.log_folder, f"segment-{number:08d}", events, options.timed)
        posted = [self._posted(part) for part in events.iter_slices(POSTED_AT_ONCE)]
        try:
            file = writing.result()
        except OSError as error:
            raise StorageError("log_not_writable", f"the log cannot be written: {error}") from error
        segment = self._described(number, file, events, posted)
        sequences = {"first_sequence": first, "last_sequence": segment.last_sequence}
        taken = replace(found, receipt=replace(found.receipt, accepted=events.height, **sequences), posted=posted)
        with options.timed("commit"), self._lease.write() as connection:
            _append(connection, segment)
            quarantine.put_aside(connection, refused, stored_text(recorded_at))
            beside(connection, taken)
        self.log = self.log.extended(segment)
        self._recent.add(events)
        self._remembered = self._beside.submit(self._identities.add, fresh["identity_hash"].to_numpy(), first)
        return taken

    def _posted(self, events: pl.DataFrame) -> PostedEvents:
        model = self._options.model
        return PostedEvents(post(events, {model.version: model}), events["sequence"][0], events["sequence"][-1])

    def _as_recorded(self, fresh: pl.DataFrame, first: int, recorded_at: datetime) -> pl.DataFrame:
        """The events as the log keeps them: with their place, the system time, and the model they are posted under."""
        model = self._options.model
        flows = looked_up("flow", fresh["type"], {name: event.flow for name, event in model.event_types.items()})
        properties = sorted(name for name in fresh.columns if name.startswith(columns.PROPERTY_PREFIX))
        amounts = columns.names_with_prefix(fresh.columns, columns.AMOUNT_PREFIX)
        others = [columns.OTHER_PROPERTIES] if columns.OTHER_PROPERTIES in fresh.columns else []
        pairs = [
            name
            for amount in sorted(amounts)
            for name in (columns.amount_column(amount), columns.currency_column(amount))
        ]
        at = repeated("recorded_at", recorded_at, INSTANT, fresh.height)
        return pl.DataFrame(
            [
                pl.Series("sequence", np.arange(first, first + fresh.height, dtype=np.int64)),
                fresh["recorded_at"] if self._options.imports else at,
                flows,
                *(fresh[name] for name in columns.ENVELOPE),
                repeated("model_version", model.version, pl.String(), fresh.height),
                *(fresh[name] for name in (*properties, *pairs, *others)),
            ]
        )

    def _require_order(self, fresh: pl.DataFrame) -> None:
        """Raise DataError where history goes back in time: against the event before it, or what the log has."""
        last = self.log.segments[-1].recorded_at if self.log.segments else ""
        earliest = datetime.fromisoformat(last) if last else self._options.in_force_since
        before = pl.col("recorded_at").shift(fill_value=earliest)
        wrong = fresh.select("id", "recorded_at", before=before).filter(pl.col("recorded_at") < pl.col("before"))
        if wrong.is_empty():
            return
        name, found, expected = wrong.row(0)
        raise DataError(
            "import_not_in_order",
            f"event {name}: expected a recorded_at of {stored_text(expected)} or later, for the log never goes back; "
            f"found {stored_text(found)}. Sort what is imported by recorded_at, and import it before anything newer.",
        )

    def _described(
        self, number: int, file: SegmentFile, events: pl.DataFrame, posted: Sequence[PostedEvents]
    ) -> Segment:
        last = self.log.segments[-1] if self.log.segments else None
        times, recorded = events["effective_at"], events["recorded_at"]
        moved: Counter[str] = Counter()
        for part in posted:
            moved.update(part.posted.moved())
        return Segment(
            number=number,
            first_sequence=events["sequence"][0],
            last_sequence=events["sequence"][-1],
            event_count=events.height,
            entry_count=sum(part.posted.entry_count for part in posted),
            recorded_at=stored_text(recorded[-1]),
            first_effective_at=stored_text(cast("datetime", times.min())),
            last_effective_at=stored_text(cast("datetime", times.max())),
            moved=json.dumps({currency: str(total) for currency, total in moved.items()}, sort_keys=True),
            model_version=self._options.model.version,
            file_name=file.name,
            file_bytes=file.bytes,
            file_sha256=file.sha256,
            previous_hash=last.hash if last else GENESIS,
            first_recorded_at=stored_text(recorded[0]),
            imported=self._options.imports,
        ).sealed()

    def _next_instant(self) -> datetime:
        """Now, but later than the last segment and the model, so that the system time alone names what was known."""
        known = [self._options.in_force_since]
        if self.log.segments:
            known.append(datetime.fromisoformat(self.log.segments[-1].recorded_at))
        return max(self._options.clock(), max(known) + timedelta(microseconds=1))


def _append(connection: Connection, segment: Segment) -> None:
    try:
        manifest.append_segment(connection, segment.__dict__)
    except IntegrityError as error:
        raise StorageError(
            "manifest_moved_on",
            f"the catalog has a segment {segment.number} already, though its commit had failed: run the command again",
        ) from error


def _with_origin(batch: Batch, rejections: pl.DataFrame) -> Iterator[tuple[quarantine.Reason, bytes]]:
    """Each refused record with its reason, made as it is asked for: a batch may be refused whole."""
    for part in rejections.iter_slices(_ORIGINS_AT_ONCE):
        rows = list(part.iter_rows(named=True))
        for row, record in zip(rows, batch.raw([row["position"] for row in rows]), strict=True):
            source, line = batch.origin(row["position"])
            reason = quarantine.Reason(
                code=row["code"],
                field=row["field"],
                expected=row["expected"],
                found=row["found"],
                source=source,
                line=line,
            )
            yield reason, record
