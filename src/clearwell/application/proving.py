"""Proofs about single events, made from the stored block roots and the leaves of a few blocks of the log."""

from __future__ import annotations

from functools import cached_property

from clearwell.application.sealing import Progress, read_sealed, seal, tree_of
from clearwell.application.workspace import Workspace
from clearwell.errors import DataError, StorageError, UsageError
from clearwell.log.checkpoints import Checkpoint
from clearwell.log.leaves import canonical, leaf_hashes
from clearwell.log.merkle import (
    BLOCK_LEVEL,
    HASH_BYTES,
    consistency_holds,
    consistency_path,
    inclusion_path,
    parents,
    root_at,
)
from clearwell.log.proofs import Proof, differences, hexes, is_hash
from clearwell.log.reader import LogReader
from clearwell.log.seals import Seal


def prove(
    workspace: Workspace,
    event: str,
    producer: str = "",
    tree: int | Checkpoint | None = None,
    report: Progress = lambda _count: None,
) -> Proof:
    """The proof that an event, given by id or `#SEQUENCE`, is in the log's tree of a size, or of a checkpoint.

    Without `tree` the newest seal's tree is taken. What is not sealed yet is sealed first. Raises UsageError for an
    event or a size that does not exist, DataError when the log is not the one that was sealed, or that the checkpoint
    is of.
    """
    newest = seal(workspace, report)
    if newest is None:
        raise UsageError("event_unknown", f"expected an event of the log, found {event!r}; the log is empty")
    blocks = read_sealed(workspace).blocks
    log = workspace.log()
    size = tree.tree_size if isinstance(tree, Checkpoint) else tree or newest.tree_size
    if size > newest.tree_size:
        code = "log_shorter_than_checkpoint" if isinstance(tree, Checkpoint) else "tree_size_unknown"
        error = DataError if isinstance(tree, Checkpoint) else UsageError
        raise error(code, f"expected a tree of at most {newest.tree_size} events, found {size}")
    index = _sequence(log, event, producer) - 1
    if index >= size:
        raise UsageError("event_not_in_tree", f"event #{index + 1} is not among the first {size} events of the log")
    nodes = StoredNodes(log, newest, blocks)
    root = root_at(size, nodes)
    if not _is_sealed(newest, nodes, (size, root)):
        raise _not_as_sealed(newest)
    if isinstance(tree, Checkpoint) and tree.root != root:
        raise DataError(
            "checkpoint_contradicted",
            f"the checkpoint's root of {size} events is {tree.root.hex()}, the log's is {root.hex()}",
        )
    text = str(canonical(log.between(index + 1, index + 1))[0])
    proof = Proof(text, index, size, hexes(inclusion_path(index, size, nodes)), root.hex())
    if differences(proof, root.hex(), size):
        raise _not_as_sealed(newest)
    return proof


class StoredNodes:
    """The inner nodes of a sealed tree: from the seal, from stored block roots, or from the events of a block."""

    def __init__(self, log: LogReader, newest: Seal, blocks: dict[int, str]) -> None:
        """`log` reaches at least to the end of the newest seal."""
        self._log = log
        self._size = newest.tree_size
        self._known = tree_of(newest).nodes()
        self._blocks = blocks
        self._made: dict[int, list[bytes]] = {}

    def __call__(self, level: int, position: int) -> bytes:
        """The root of a perfect subtree, as `merkle.Nodes`."""
        known = self._known.get((level, position))
        if known is not None:
            return known
        if level >= BLOCK_LEVEL:
            return _at(self._upper[level - BLOCK_LEVEL], position)
        block = position >> (BLOCK_LEVEL - level)
        return _at(self._inside(block)[level], position - (block << (BLOCK_LEVEL - level)))

    @cached_property
    def _upper(self) -> list[bytes]:
        """The levels from the complete blocks upwards."""
        roots = [
            bytes.fromhex(self._blocks[place]) if is_hash(self._blocks.get(place)) else self._inside(place)[BLOCK_LEVEL]
            for place in range(self._size >> BLOCK_LEVEL)
        ]
        return _levels(b"".join(roots))

    def _inside(self, block: int) -> list[bytes]:
        """The levels of one block, from its leaves upwards."""
        if block not in self._made:
            first = block << BLOCK_LEVEL
            last = min((block + 1) << BLOCK_LEVEL, self._size)
            events = self._log.between(first + 1, last)
            if events.height != last - first:
                raise StorageError(
                    "segment_unreadable",
                    f"expected the events {first + 1} to {last} in the log, found {events.height} of them. "
                    "Run `clearwell verify`.",
                )
            self._made[block] = _levels(leaf_hashes(events).tobytes())
        return self._made[block]


def _levels(hashes: bytes) -> list[bytes]:
    levels = [hashes]
    while len(levels[-1]) > HASH_BYTES:
        levels.append(parents(levels[-1]))
    return levels


def _at(level: bytes, position: int) -> bytes:
    return level[position * HASH_BYTES : (position + 1) * HASH_BYTES]


def _is_sealed(newest: Seal, nodes: StoredNodes, head: tuple[int, bytes]) -> bool:
    """Whether the newest seal's tree begins with the tree of `head`, as (size, root)."""
    path = consistency_path(head[0], newest.tree_size, nodes)
    return consistency_holds(head, (newest.tree_size, bytes.fromhex(newest.root)), path)


def _not_as_sealed(newest: Seal) -> DataError:
    return DataError(
        "seal_root_wrong",
        f"the log, or the stored roots of its blocks, do not give the root of seal {newest.number}: "
        "run `clearwell verify`, which tells them apart",
    )


def _sequence(log: LogReader, event: str, producer: str) -> int:
    """The sequence of the event. Raises UsageError when there is none, or more than one."""
    if event.startswith("#") and event[1:].isdecimal():
        sequence = int(event[1:])
        if not 1 <= sequence <= log.last_sequence:
            raise UsageError("event_unknown", f"expected a sequence from 1 to {log.last_sequence}, found {event}")
        return sequence
    places = log.places(event)
    producers = sorted(places["producer"])
    if producer:
        places = places.filter(producer=producer)
    if places.height == 1:
        return int(places["sequence"][0])
    if producers and not producer:
        raise UsageError(
            "event_ambiguous", f"{event!r} is an event of {', '.join(producers)}: say whose with --producer", producers
        )
    wanted = f"event {event!r} of {producer}" if producer else f"event {event!r}"
    found = f"events of that id of {', '.join(producers)}" if producers else "no event of that id"
    raise UsageError("event_unknown", f"expected {wanted} in the log, found {found}")
