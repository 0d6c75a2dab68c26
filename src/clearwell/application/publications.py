"""Publications: what producers send in one request, read as a batch together with others, and what became of each.

Knows nothing of threads, and writes nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.application.workspace import Workspace
from clearwell.errors import AccessError, DataError
from clearwell.flows.model import Model
from clearwell.ingest import tables
from clearwell.ingest.batches import Batch
from clearwell.ingest.door import Door, Taken
from clearwell.ingest.ndjson import NdjsonOptions, NdjsonReader

Form = Literal["ndjson", "arrow"]

MOST_TOLD = 1_000
"""So many refused records are told of in an answer; the quarantine has them all."""

_BLOCK_LINES = 2_000_000
_BATCH_ROWS = 5_000_000


@dataclass(frozen=True)
class Publication:
    """Records that somebody publishes in one request: lines of NDJSON, or an Arrow IPC stream.

    `source` names the publisher in quarantine. With `whole`, all are taken in or none. `event_types` are the only types
    that the publisher may publish, None for any. `request_key` names the request among those of the publisher, so that
    it can be sent again: the answer is the one that it had.
    """

    body: bytes
    form: Form
    source: str
    whole: bool = False
    event_types: frozenset[str] | None = None
    request_key: str = ""

    @property
    def key_hash(self) -> str:
        """What names the request in the catalog."""
        return hashlib.sha256(f"{self.source}\0{self.request_key}".encode()).hexdigest()

    @property
    def body_hash(self) -> str:
        """What tells another request under the same key."""
        return hashlib.sha256(f"{self.form}\0{self.whole}\0".encode() + self.body).hexdigest()


@dataclass(frozen=True)
class Refused:
    """A record that was refused: its place in the request, from 0 (of NDJSON its line), and why."""

    index: int
    code: str
    field: str
    expected: str
    found: str


@dataclass(frozen=True)
class Outcome:
    """What became of a publication, which is durable now.

    `refused` has the first `MOST_TOLD` of the `refused_count` records; they are in quarantine, unless the publication
    was to be taken in whole, and so nothing of it was. The sequences are None when nothing was accepted.
    """

    accepted: int
    duplicates: int
    refused_count: int
    first_sequence: int | None
    last_sequence: int | None
    refused: tuple[Refused, ...] = ()
    repeated: bool = False
    """Whether the request was answered before, and this is that answer."""

    def as_text(self) -> str:
        """The outcome as the catalog keeps it."""
        return json.dumps({**self.__dict__, "refused": [item.__dict__ for item in self.refused]})

    @classmethod
    def from_text(cls, text: str) -> Outcome:
        """What `as_text` gave, as that of a repeated request."""
        found = json.loads(text)
        refused = tuple(Refused(**item) for item in found["refused"])
        return cls(**{**found, "refused": refused, "repeated": True})


@dataclass(frozen=True)
class Grouped(Batch):
    """The lines of several publications, one after the other: `starts` has the line, from 0, where each begins."""

    starts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    sources: tuple[str, ...] = ()

    def origin(self, position: int) -> tuple[str, int]:
        """The source of a record, and its line there, from 1."""
        line = int(self.lines[position]) - 1
        place = self.place(np.array([line]))[0]
        return self.sources[place], line - int(self.starts[place]) + 1

    def place(self, lines: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Which publication each of the lines, from 0, is of."""
        places: npt.NDArray[np.int64] = np.searchsorted(self.starts, lines, side="right") - 1
        return places

    def lines_of(self, positions: pl.Series) -> npt.NDArray[np.int64]:
        """The lines, from 0, of these positions."""
        lines: npt.NDArray[np.int64] = self.lines[positions.to_numpy()] - 1
        return lines


class Reading:
    """Reads publications by one model."""

    def __init__(self, workspace: Workspace, model: Model, door: Door) -> None:
        self._model = model
        self.door = door
        options = NdjsonOptions(
            block_bytes=1 << 30,
            record_bytes=workspace.settings.record_bytes,
            block_lines=_BLOCK_LINES,
            earlier_amounts=workspace.amount_names(),
        )
        self._ndjson = NdjsonReader(model, options)

    def batch(self, publications: Sequence[Publication]) -> Grouped:
        """The records of publications, which are all of one form, as one batch.

        Raises DataError, and AccessError for an event type that a publisher may not publish.
        """
        if publications[0].form == "arrow":
            streams = [self._arrow(item) for item in publications]
            counts = [sum(len(batch.lines) for batch in stream) for stream in streams]
            found = [batch for stream in streams for batch in stream]
        else:
            bodies = [_ended(item.body) for item in publications]
            counts = [body.count(b"\n") for body in bodies]
            found = list(self._ndjson.read(io.BytesIO(b"".join(bodies)), "requests"))
        if 0 in counts:
            raise DataError("request_empty", "expected at least one record, found none")
        starts = np.concatenate([[0], np.cumsum(counts[:-1])]).astype(np.int64)
        whole = _joined(found)
        grouped = Grouped(
            **{**whole.__dict__, "starts": starts, "sources": tuple(item.source for item in publications)}
        )
        _require_allowed(grouped, publications)
        return grouped

    def _arrow(self, publication: Publication) -> list[Batch]:
        return list(tables.read_arrow(io.BytesIO(publication.body), publication.source, self._model, _BATCH_ROWS))


def _ended(body: bytes) -> bytes:
    return body if body.endswith(b"\n") or not body else body + b"\n"


def _joined(batches: Sequence[Batch]) -> Batch:
    """Batches of one stream as one; positions of later ones go on after those of earlier ones."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        raise DataError("request_empty", "expected at least one record, found none")
    starts = np.cumsum([0, *(len(item.lines) for item in batches)])
    shifted = [
        (
            item.records.with_columns(pl.col("position") + start),
            item.rejections.with_columns(pl.col("position") + start),
        )
        for item, start in zip(batches, starts[:-1].tolist(), strict=True)
    ]

    def raw(positions: Sequence[int]) -> list[bytes]:
        places = np.searchsorted(starts, positions, side="right") - 1
        return [batches[place].raw([at - int(starts[place])])[0] for place, at in zip(places, positions, strict=True)]

    return Batch(
        batches[0].source,
        pl.concat([records for records, _ in shifted], how="diagonal_relaxed"),
        pl.concat([rejections for _, rejections in shifted]),
        np.arange(1, int(starts[-1]) + 1, dtype=np.int64),
        raw,
    )


def _require_allowed(batch: Grouped, publications: Sequence[Publication]) -> None:
    """Raise AccessError when a publisher has an event of a type that it may not publish."""
    if all(item.event_types is None for item in publications) or "type" not in batch.records.columns:
        return
    places = batch.place(batch.lines_of(batch.records["position"]))
    types = batch.records["type"]
    for place, item in enumerate(publications):
        if item.event_types is None:
            continue
        own = types.filter(pl.Series(places == place)).drop_nulls().unique()
        if other := sorted(set(own) - item.event_types):
            expected = ", ".join(sorted(item.event_types)) or "none"
            raise AccessError(
                "event_type_not_allowed",
                f"expected event types that the key may publish ({expected}), found {other[0]}",
            )


def outcomes(batch: Grouped, publications: Sequence[Publication], taken: Taken) -> list[Outcome]:
    """What became of each publication of a batch."""
    count, whole = len(publications), publications[0].whole
    is_taken = taken.receipt.first_sequence is not None

    def counts(positions: pl.Series) -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = np.bincount(batch.place(batch.lines_of(positions)), minlength=count)
        return found

    accepted = counts(taken.accepted) if is_taken else np.zeros(count, dtype=np.int64)
    duplicates = counts(taken.duplicates)
    refused = counts(taken.rejections["position"])
    lasts = np.cumsum(accepted) + (taken.receipt.first_sequence or 0) - 1
    told = _told(batch, taken.rejections) if taken.rejections.height else {}
    assert not (whole and count > 1)
    return [
        Outcome(
            int(accepted[place]),
            int(duplicates[place]),
            int(refused[place]),
            int(lasts[place] - accepted[place] + 1) if accepted[place] else None,
            int(lasts[place]) if accepted[place] else None,
            tuple(told.get(place, ())),
        )
        for place in range(count)
    ]


def _told(batch: Grouped, rejections: pl.DataFrame) -> dict[int, list[Refused]]:
    """By publication, the first refused records of each."""
    lines = batch.lines_of(rejections["position"])
    places = batch.place(lines)
    within = rejections.select("code", "field", "expected", "found").with_columns(
        place=pl.Series(places), index=pl.Series(lines - batch.starts[places])
    )
    first = within.filter(pl.int_range(pl.len()).over("place") < MOST_TOLD)
    told: dict[int, list[Refused]] = {}
    for row in first.iter_rows(named=True):
        fields: dict[str, Any] = {name: row[name] for name in ("index", "code", "field", "expected", "found")}
        told.setdefault(row["place"], []).append(Refused(**fields))
    return told
