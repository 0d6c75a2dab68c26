"""Seals: rows that commit the root of the log's Merkle tree, each linked to the one before. Rules only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from clearwell.log.manifest import GENESIS, Segment
from clearwell.log.merkle import Frontier


@dataclass(frozen=True)
class Seal:
    """The root of the tree over the first `tree_size` events, and the segment that ends there.

    Hashes are hexadecimal; `frontier` is a JSON list of the roots of the perfect subtrees, largest first, from which
    the tree goes on growing. `sealed_at` is ISO 8601 in UTC with microseconds.
    """

    number: int
    tree_size: int
    root: str
    frontier: str
    segment_number: int
    segment_hash: str
    sealed_at: str
    previous_hash: str
    hash: str = ""

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> Seal:
        """The seal that a catalog row describes."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})

    def linked(self) -> Seal:
        """The same seal with the hash that its content has."""
        return replace(self, hash=self.computed_hash())

    def computed_hash(self) -> str:
        """SHA-256, in hex, over the canonical JSON (sorted keys, no spaces) of every field but `hash` itself."""
        content = {name: value for name, value in asdict(self).items() if name != "hash"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def tree(self) -> Frontier:
        """The tree that the frontier stands for. Raises ValueError when it stands for none of this size."""
        return Frontier(self.tree_size, tuple(bytes.fromhex(item) for item in json.loads(self.frontier)))


@dataclass(frozen=True)
class SealFault:
    """Something about a seal that does not follow from the seal before it, or from the manifest."""

    number: int
    code: str
    expected: str
    found: str


def next_seal(last: Seal | None, tree: Frontier, segment: Segment, sealed_at: str) -> Seal:
    """The seal of a tree that ends with `segment`, linked to the last one."""
    return Seal(
        number=last.number + 1 if last else 1,
        tree_size=tree.size,
        root=tree.root().hex(),
        frontier=json.dumps([item.hex() for item in tree.roots]),
        segment_number=segment.number,
        segment_hash=segment.hash,
        sealed_at=sealed_at,
        previous_hash=last.hash if last else GENESIS,
    ).linked()


def seal_faults(seals: Sequence[Seal], segments: Sequence[Segment]) -> list[SealFault]:
    """What is wrong in the seals alone: links, sizes, segments, roots that are not the frontier's."""
    ends = {item.number: item for item in segments}
    return [fault for last, seal in zip([None, *seals], seals, strict=False) for fault in _faults(last, seal, ends)]


def _faults(last: Seal | None, seal: Seal, ends: Mapping[int, Segment]) -> Iterator[SealFault]:
    segment = ends.get(seal.segment_number)
    comparisons: list[tuple[str, object, object]] = [
        ("seal_broken", last.number + 1 if last else 1, seal.number),
        ("seal_broken", last.hash if last else GENESIS, seal.previous_hash),
        ("seal_changed", seal.computed_hash(), seal.hash),
        ("seal_segment_wrong", segment.hash if segment else "no such segment", seal.segment_hash),
        ("seal_root_wrong", _root_of(seal), seal.root),
    ]
    if segment is not None:
        comparisons.append(("seal_segment_wrong", segment.last_sequence, seal.tree_size))
    for code, expected, found in comparisons:
        if expected != found:
            yield SealFault(seal.number, code, str(expected), str(found))
    if last is not None and seal.tree_size <= last.tree_size:
        yield SealFault(seal.number, "seal_not_later", f"more than {last.tree_size} events", str(seal.tree_size))


def _root_of(seal: Seal) -> str:
    try:
        return seal.tree().root().hex()
    except (ValueError, TypeError) as error:
        return f"a frontier: {error}"
