"""The log's tree, computed anew from its events, against seals, block roots, and checkpoints kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from clearwell.application.faults import Fault
from clearwell.application.sealing import Sealed
from clearwell.log.checkpoints import SignedCheckpoint, Verifier
from clearwell.log.leaves import leaf_hashes
from clearwell.log.merkle import BLOCK_LEVEL, EMPTY_ROOT, Frontier
from clearwell.log.reader import LogReader
from clearwell.log.seals import seal_faults

_SHOWN = 20


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint that somebody kept, under the `name` it is spoken of, and the key it must be signed with."""

    name: str
    note: SignedCheckpoint
    verifier: Verifier


class SealedTree:
    """Takes the events of the log run by run, in order, and then says what of the seals and checkpoints is not so."""

    def __init__(self, sealed: Sealed, checkpoints: Sequence[KeptCheckpoint] = ()) -> None:
        self._sealed = sealed
        self._checkpoints = checkpoints
        sizes = {item.tree_size for item in sealed.seals} | {item.note.checkpoint.tree_size for item in checkpoints}
        self._sizes = sorted(sizes - {0})
        self._tree = Frontier()
        self._blocks: dict[int, bytes] = {}
        self._roots = {0: EMPTY_ROOT}

    @property
    def size(self) -> int:
        """How many events the newest seal covers."""
        return self._sealed.seals[-1].tree_size if self._sealed.seals else 0

    def take(self, events: pl.DataFrame) -> None:
        """The next events, by sequence. Events that do not follow the last ones are left out, and all after them."""
        sequences = events["sequence"]
        last = min(sequences[-1], self._sizes[-1]) if self._sizes and len(sequences) else 0
        if last <= self._tree.size or sequences[0] != self._tree.size + 1:
            return
        try:
            leaves = leaf_hashes(events.head(last - self._tree.size)).tobytes()
        except pl.exceptions.PolarsError:
            return  # They are no events, which is a fault of their file.
        start = self._tree.size
        for end in [*(size for size in self._sizes if start < size < last), last]:
            self._tree, completed = self._tree.extended(leaves[(self._tree.size - start) * 32 : (end - start) * 32])
            self._blocks |= completed
            self._roots[end] = self._tree.root()

    def faults(self, log: LogReader) -> Iterator[Fault]:
        """Everything that is wrong; `log` is the one whose events were taken, as far as they could be read."""
        for item in seal_faults(self._sealed.seals, log.segments):
            yield Fault(item.code, f"seal {item.number}", item.expected, item.found)
        for seal in self._sealed.seals:
            root = self._roots.get(seal.tree_size)
            if root is not None and root.hex() != seal.root:
                yield Fault("seal_root_wrong", f"seal {seal.number}", f"root {root.hex()}, by its events", seal.root)
        yield from list(self._block_faults())[:_SHOWN]
        for kept in self._checkpoints:
            yield from self._checkpoint_faults(kept, log)

    def _block_faults(self) -> Iterator[Fault]:
        whole = self.size >> BLOCK_LEVEL
        for place in sorted({*range(whole), *self._sealed.blocks}):
            stored = self._sealed.blocks.get(place, "none")
            if place >= whole:
                yield Fault("tree_block_wrong", f"tree block {place}", "no block beyond the seals", stored)
            elif place in self._blocks and stored != self._blocks[place].hex():
                yield Fault("tree_block_wrong", f"tree block {place}", self._blocks[place].hex(), stored)

    def _checkpoint_faults(self, kept: KeptCheckpoint, log: LogReader) -> Iterator[Fault]:
        content, where = kept.note.checkpoint, f"checkpoint {kept.name}"
        if not kept.note.is_signed_by(kept.verifier):
            found = ", ".join(item.name for item in kept.note.signatures)
            expected = f"a signature of {kept.verifier.name} that fits key {kept.verifier.key_id.hex()}"
            yield Fault("checkpoint_signature_wrong", where, expected, f"none among those of {found}")
            return
        if content.tree_size > log.last_sequence:
            expected = f"{content.tree_size} events or more"
            yield Fault("log_shorter_than_checkpoint", where, expected, str(log.last_sequence))
            return
        root = self._roots.get(content.tree_size)
        if root is not None and root != content.root:
            expected = f"root {content.root.hex()} of {content.tree_size} events"
            yield Fault("checkpoint_contradicted", where, expected, root.hex())
        rows = {f"seal {item.number}": item.hash for item in self._sealed.seals}
        rows |= {f"manifest {item.number}": item.hash for item in log.segments}
        for line in content.extension:
            name, _, expected = line.rpartition(" ")
            if name.startswith(("seal ", "manifest ")) and rows.get(name) != expected:
                yield Fault("checkpoint_contradicted", f"{where}, {name}", expected, rows.get(name, "no such row"))
