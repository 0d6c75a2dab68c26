"""The manifest's rows, the hash chain over them, and which files hold the log now.

Rules only: where rows are kept is the catalog's business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import groupby
from typing import Any

GENESIS = "0" * 64
"""The `previous_hash` of the first segment."""


FORMAT = 2
"""The format of the rows written now. A row of format 1 says nothing of `first_recorded_at` and `imported`."""

_SINCE_FORMAT_2 = ("format", "first_recorded_at", "imported")


@dataclass(frozen=True)
class Segment:
    """One row of the manifest: one commit of the log, and its place in the chain.

    `moved` is, per currency, the sum of the values of all moves that made entries, as decimal text in JSON with sorted
    keys. Instants are ISO 8601 in UTC with microseconds. `recorded_at` is that of the last event, and of every event
    unless the segment was `imported`: then each event keeps its own, from `first_recorded_at` on, never decreasing.
    The file is the one that was written at first; compaction may have put another in its place (`LogFile`).
    """

    number: int
    first_sequence: int
    last_sequence: int
    event_count: int
    entry_count: int
    recorded_at: str
    first_effective_at: str
    last_effective_at: str
    moved: str
    model_version: str
    file_name: str
    file_bytes: int
    file_sha256: str
    previous_hash: str
    hash: str = ""
    format: int = FORMAT
    first_recorded_at: str = ""
    imported: bool = False

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> Segment:
        """The segment that a catalog row describes."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})

    def sealed(self) -> Segment:
        """The same segment with the hash that its content has."""
        return Segment(**{**asdict(self), "hash": self.computed_hash()})

    def computed_hash(self) -> str:
        """SHA-256, in hex, over the canonical JSON (sorted keys, no spaces) of every field but `hash` itself.

        A row of format 1 is hashed over the fields that it had.
        """
        left_out = {"hash", *(_SINCE_FORMAT_2 if self.format == 1 else ())}
        content = {name: value for name, value in asdict(self).items() if name not in left_out}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Compaction:
    """One file that took the place of the files of the segments `first_segment` to `last_segment`.

    It holds the same events in another order. The chain knows nothing of it.
    """

    number: int
    first_segment: int
    last_segment: int
    event_count: int
    file_name: str
    file_bytes: int
    file_sha256: str
    compacted_at: str

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> Compaction:
        """The compaction that a catalog row describes."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class LogFile:
    """A file of the log and the segments, next to each other, whose events it holds.

    `compacted` files are not in order of sequence, and may be taken by parts, which have fewer of their segments.
    """

    name: str
    bytes: int
    sha256: str
    segments: tuple[Segment, ...]
    compacted: bool = False

    @property
    def first_sequence(self) -> int:
        """The least sequence in the file."""
        return self.segments[0].first_sequence

    @property
    def last_sequence(self) -> int:
        """The greatest sequence in the file."""
        return self.segments[-1].last_sequence

    @property
    def event_count(self) -> int:
        """How many events the file holds."""
        return self.last_sequence - self.first_sequence + 1

    @property
    def last_effective_at(self) -> str:
        """The greatest `effective_at` in the file."""
        return max(item.last_effective_at for item in self.segments)

    def parts(self, most_events: int) -> Iterator[LogFile]:
        """The file as rows of its segments, of at most so many events where a segment does not have more alone."""
        first = 0
        for place, segment in enumerate(self.segments):
            if place > first and segment.last_sequence - self.segments[first].first_sequence >= most_events:
                yield replace(self, segments=self.segments[first:place])
                first = place
        yield replace(self, segments=self.segments[first:])


def current_files(segments: Sequence[Segment], compactions: Sequence[Compaction] = ()) -> list[LogFile]:
    """The files that hold `segments`, in their order: of what covers a segment, the newest compaction counts."""
    newest: dict[int, Compaction] = {}
    for compaction in sorted(compactions, key=lambda item: item.number):
        for number in range(compaction.first_segment, compaction.last_segment + 1):
            newest[number] = compaction
    files: list[LogFile] = []
    for compacted, group in groupby(segments, key=lambda item: newest.get(item.number)):
        held = tuple(group)
        if compacted is None:
            files += [LogFile(item.file_name, item.file_bytes, item.file_sha256, (item,)) for item in held]
        else:
            files.append(
                LogFile(compacted.file_name, compacted.file_bytes, compacted.file_sha256, held, compacted=True)
            )
    return files


@dataclass(frozen=True)
class ChainFault:
    """Something in the manifest that does not follow from the row before it."""

    number: int
    code: str
    expected: str
    found: str


def chain_faults(segments: Sequence[Segment]) -> list[ChainFault]:
    """What is wrong in the chain: gaps in numbers or sequences, clocks going back, hashes that do not fit."""
    faults = []
    number, sequence, recorded_at, link = 0, 0, "", GENESIS
    for segment in segments:
        comparisons = [
            ("segment_number_gap", number + 1, segment.number),
            ("sequence_gap", sequence + 1, segment.first_sequence),
            ("event_count_wrong", segment.last_sequence - segment.first_sequence + 1, segment.event_count),
            ("chain_broken", link, segment.previous_hash),
            ("manifest_row_changed", segment.computed_hash(), segment.hash),
        ]
        faults += [
            ChainFault(segment.number, code, str(expected), str(found))
            for code, expected, found in comparisons
            if expected != found
        ]
        first = segment.first_recorded_at or segment.recorded_at
        if first < recorded_at or (first == recorded_at and not segment.imported):
            faults.append(ChainFault(segment.number, "recorded_at_not_later", f"after {recorded_at}", first))
        number, sequence = segment.number, segment.last_sequence
        recorded_at, link = segment.recorded_at, segment.hash
    return faults
