"""The manifest's rows and the hash chain over them. Rules only: where rows are kept is the catalog's business."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

GENESIS = "0" * 64
"""The `previous_hash` of the first segment."""


@dataclass(frozen=True)
class Segment:
    """One row of the manifest: what an immutable file of the log holds, and its place in the chain.

    `moved` is, per currency, the sum of the values of all moves that made entries, as decimal text in JSON with sorted
    keys. Instants are ISO 8601 in UTC with microseconds.
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

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> Segment:
        """The segment that a catalog row describes."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})

    def sealed(self) -> Segment:
        """The same segment with the hash that its content has."""
        return Segment(**{**asdict(self), "hash": self.computed_hash()})

    def computed_hash(self) -> str:
        """SHA-256, in hex, over the canonical JSON (sorted keys, no spaces) of every field but `hash` itself."""
        content = {name: value for name, value in asdict(self).items() if name != "hash"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


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
        if segment.recorded_at <= recorded_at:
            faults.append(
                ChainFault(segment.number, "recorded_at_not_later", f"after {recorded_at}", segment.recorded_at)
            )
        number, sequence = segment.number, segment.last_sequence
        recorded_at, link = segment.recorded_at, segment.hash
    return faults
