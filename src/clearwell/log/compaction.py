"""Compaction: small files of the log become large ones with the same events, sorted so that a search reads little.

Neither content nor chain changes. Nothing is read that is not what it was when it was written, and the new file is read
back and compared before anything else may rely on it. Removes no file: see `log.retention`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyarrow import compute

from clearwell.errors import StorageError
from clearwell.flows.model import Model
from clearwell.log.manifest import Compaction, LogFile
from clearwell.log.reader import LogReader, with_instants
from clearwell.log.writer import Layout, SegmentFile, in_whole_milliseconds, write_parts
from clearwell.values import columns

COMPACTED_ROW_GROUP_EVENTS = 32_768
"""Rows per row group of a compacted file: a search for one value reads about one of them, and all that it has."""

_EVENTS_AT_ONCE = 300_000
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

    They are read by parts, and several times, so that memory stays bounded. Raises StorageError when a file is not what
    the manifest says, and when the disk refuses; then nothing has changed.
    """
    for file in files:
        log.require_sound(file)
    sources = _Sources(log, files)
    groups = _row_groups(sources, models)
    first, last = files[0].segments[0].number, files[-1].segments[-1].number
    try:
        parts = _by_row_group(sources, groups)
        stem = f"segments-{first:08d}-{last:08d}"
        written = write_parts(log.folder, stem, parts, sources.layout(), COMPACTED_ROW_GROUP_EVENTS)
        content = (log.folder / written.name).read_bytes()
    except OSError as error:
        raise StorageError("log_not_writable", f"the log cannot be written: {error}") from error
    if hashlib.sha256(content).hexdigest() != written.sha256 or not sources.are_in(content):
        raise StorageError("compaction_differs", f"{written.name} was not read back as it was written: it is not used")
    return written


@dataclass(frozen=True)
class _Part:
    """Some rows of a file, next to each other; `places` says of each where its event is among all, by sequence."""

    file: LogFile
    start: int
    places: npt.NDArray[np.int64]


class _Sources:
    """The events that are to be compacted, by parts, each with the columns of them all.

    Raises StorageError when a file has not the events that it should.
    """

    def __init__(self, log: LogReader, files: Sequence[LogFile]) -> None:
        self._log = log
        self._files = files
        self._first = files[0].first_sequence
        self.parts = [part for file in files for part in self._parts(file)]
        self.count = files[-1].last_sequence - self._first + 1
        self.hashes = np.zeros(self.count, dtype=np.uint64)
        """A hash of each event, in order of sequence; `_by_row_group` fills it in."""
        schemas = [log.schema(file, log.scan(file)) for file in files]
        self._nothing = pl.DataFrame(schema={name: dtype for schema in schemas for name, dtype in schema.items()})
        self.properties = sorted(name for name in self._nothing.columns if name.startswith(columns.PROPERTY_PREFIX))

    def _parts(self, file: LogFile) -> Iterator[_Part]:
        stored = self._log.collected(file, self._log.scan(file).select("sequence")).to_series()
        expected = pl.int_range(file.first_sequence, file.last_sequence + 1, eager=True)
        if not (stored.sort() if file.compacted else stored).equals(expected.alias("sequence")):
            found = f"{file.name}: expected the events {file.first_sequence} to {file.last_sequence}, each once"
            raise StorageError("segment_unreadable", f"{found}. Run `clearwell verify`.")
        places = stored.to_numpy() - self._first
        for start in range(0, len(places), _EVENTS_AT_ONCE):
            yield _Part(file, start, places[start : start + _EVENTS_AT_ONCE])

    def read(self, part: _Part, names: Sequence[str]) -> pl.DataFrame:
        """These columns of a part, as far as its file has them."""
        scan = self._log.scan(part.file)
        present = self._log.schema(part.file, scan)
        wanted = scan.select(name for name in names if name in present)
        return self._log.collected(part.file, wanted.slice(part.start, len(part.places)))

    def events(self, part: _Part) -> pl.DataFrame:
        """A part with every column."""
        return pl.concat([self._nothing, self.read(part, self._nothing.columns)], how="diagonal")

    def layout(self) -> Layout:
        """How the new file is stored: as suits one segment, with instants that are exact in all of them."""
        layout = Layout.of(self._log.events(next(self._files[0].parts(1))))
        exact = layout.in_milliseconds
        for part in self.parts:
            exact &= {column.name for column in self.read(part, sorted(exact)) if in_whole_milliseconds(column)}
        return replace(layout, in_milliseconds=exact)

    def are_in(self, content: bytes) -> bool:
        """Whether a Parquet file holds these events, each once and nothing else."""
        scan = with_instants(pl.scan_parquet(content))
        if scan.collect_schema() != self._nothing.schema:
            return False
        count = int(scan.select(pl.len()).collect().item())
        seen = np.zeros(self.count, dtype=np.bool_)
        for start in range(0, count, _EVENTS_AT_ONCE):
            events = scan.slice(start, _EVENTS_AT_ONCE).collect()
            places = events["sequence"].to_numpy() - self._first
            if ((places < 0) | (places >= self.count)).any():
                return False
            if (self.hashes[places] != events.hash_rows().to_numpy()).any():
                return False
            seen[places] = True
        return count == self.count and bool(seen.all())


def _by_row_group(sources: _Sources, groups: npt.NDArray[np.int64]) -> Iterator[pl.DataFrame]:
    """The events in order of row group, and within one of sequence; each frame has whole row groups."""
    at_once = max(_EVENTS_AT_ONCE // COMPACTED_ROW_GROUP_EVENTS, 1)
    for first in range(0, int(groups.max()) + 1, at_once):
        yield _of_row_groups(sources, groups, range(first, first + at_once))


def _of_row_groups(sources: _Sources, groups: npt.NDArray[np.int64], wanted: range) -> pl.DataFrame:
    """The events of some row groups; with those of the first one, the hashes of all events are taken."""
    chosen = []
    for part in sources.parts:
        own = groups[part.places]
        is_wanted = (own >= wanted.start) & (own < wanted.stop)
        if 0 in wanted or is_wanted.any():
            events = sources.events(part)
            if 0 in wanted:
                sources.hashes[part.places] = events.hash_rows().to_numpy()
            order = pl.Series(own * sources.count + part.places)
            found = events.with_columns(order=order).filter(pl.Series(is_wanted))
            # Arrow copies the texts that are left; the filtered frame alone would hold those of the whole part.
            chosen.append(found.to_arrow(compat_level=pl.CompatLevel.oldest()))
    frame = pl.from_arrow(pa.concat_tables(chosen))
    assert isinstance(frame, pl.DataFrame)
    return frame.sort("order").drop("order")


def _row_groups(sources: _Sources, models: Mapping[str, Model]) -> npt.NDArray[np.int64]:
    """The row group of each event, in order of sequence: cut from the events as sorted by their leading value.

    Events that are led by the same property lie together, so that few row groups can hold a value of it.
    """
    ranks = np.full(sources.count, -1, dtype=np.int64)
    ranked = 0
    places = np.concatenate([part.places for part in sources.parts])
    leads = pl.concat([_leads(sources, part, models) for part in sources.parts])
    for number in sorted(leads["led_by"].unique()):
        own = leads["led_by"].eq(number).arg_true().to_numpy()
        own = own[np.argsort(places[own], kind="stable")]
        values = leads["lead"].gather(own).to_arrow(compat_level=pl.CompatLevel.oldest())
        order = compute.array_sort_indices(values).to_numpy()  # It is stable: equal values stay in order of sequence.
        ranks[places[own[order]]] = np.arange(ranked, ranked + len(order))
        ranked += len(order)
    return ranks // COMPACTED_ROW_GROUP_EVENTS


def _leads(sources: _Sources, part: _Part, models: Mapping[str, Model]) -> pl.DataFrame:
    """For each event of a part the number of its leading property, and the value of that."""
    kinds = sources.read(part, ["model_version", "type"]).unique()
    leading = {
        (version, name): columns.property_column(found)
        for version, name in sorted(kinds.iter_rows())
        if (found := leading_property(models[version], name))
    }
    events = sources.read(part, ["model_version", "type", *sorted(set(leading.values()))])
    led_by, lead = pl.lit(0, pl.UInt16), pl.lit("")
    for (version, name), column in leading.items():
        if column in events.columns:
            own = (pl.col("model_version") == version) & (pl.col("type") == name)
            led_by = pl.when(own).then(pl.lit(sources.properties.index(column) + 1, pl.UInt16)).otherwise(led_by)
            lead = pl.when(own).then(pl.col(column)).otherwise(lead)
    return events.with_columns(led_by=led_by, lead=lead).select("led_by", "lead")


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


def leading_property(model: Model, event_type: str) -> str | None:
    """The event property that names an event's own thing: the first of a clearing account that its moves touch.

    Reservoirs count only where there is no such account; None when no account takes a property from the event.
    """
    sides = [side for move in model.event_types[event_type].moves for side in (move.source, move.destination)]
    by_kind = sorted(sides, key=lambda side: model.account_types[side.account_type].kind != "clearing")
    return next((item.value for side in by_kind for item in side.values if item.source == "property"), None)
