"""Sealing: commits the root of the Merkle tree over all events, after they were acknowledged, off the ingest path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clearwell.application.workspace import Workspace, require_ledger
from clearwell.catalog import seals
from clearwell.errors import DataError, StorageError
from clearwell.log.leaves import leaf_hashes
from clearwell.log.manifest import LogFile
from clearwell.log.merkle import BLOCK_LEVEL, Frontier
from clearwell.log.reader import LogReader
from clearwell.log.seals import Seal, next_seal
from clearwell.values.times import stored_text

Progress = Callable[[int], None]

SEAL_EVERY = 1 << 22
"""A seal is written at the end of a file once so many events are not sealed: no more is done again after a crash."""


@dataclass(frozen=True)
class Sealed:
    """The seals of a log in order, and the roots (hex) of the tree's complete blocks by position."""

    seals: Sequence[Seal]
    blocks: dict[int, str]


def seal(workspace: Workspace, report: Progress = lambda _count: None) -> Seal | None:
    """Seal the events that no seal covers; returns the newest seal, None for a log without events.

    Needs no lease: when another process seals at the same time, one of them writes the seal and the other finds it.
    Each file is held against its hash in the manifest first. Raises UsageError when the ledger is empty, StorageError
    when a file is missing, damaged or changed.
    """
    require_ledger(workspace.periods())
    log, last = workspace.log(), newest_seal(workspace)
    while (last.tree_size if last else 0) < log.last_sequence:
        last = _sealed_from(workspace, log, last, report) or newest_seal(workspace)
    return last


def rebuild_blocks(workspace: Workspace, report: Progress = lambda _count: None) -> int:
    """Compute the block roots anew from all events under the newest seal; returns how many there are.

    Raises DataError when the events do not give the seal's root, StorageError as `seal` does.
    """
    last = newest_seal(workspace)
    if last is None:
        return 0
    log = workspace.log()
    tree, blocks = Frontier(), dict[int, bytes]()
    for file in log.upto(last.tree_size).files:
        tree, completed = _with_file(log, file, tree)
        blocks |= completed
        report(file.event_count)
    if tree.root().hex() != last.root:
        raise DataError(
            "seal_root_wrong", f"the events do not give the root of seal {last.number}: run `clearwell verify`"
        )
    with workspace.catalog.write() as connection:
        newest = seals.newest_seal(connection) or {"tree_size": 0}
        seals.replace_blocks(connection, _hexes(blocks), newest["tree_size"] >> BLOCK_LEVEL)
    return len(blocks)


def tree_of(seal: Seal) -> Frontier:
    """The tree of a seal. Raises DataError when its frontier does not give its root."""
    try:
        tree = seal.tree()
    except (ValueError, TypeError):
        tree = Frontier()
    if tree.root().hex() != seal.root:
        raise DataError(
            "seal_root_wrong", f"seal {seal.number} does not have the root that it states: run `clearwell verify`"
        )
    return tree


def newest_seal(workspace: Workspace) -> Seal | None:
    """The newest seal, None before there is any."""
    with workspace.catalog.read() as connection:
        row = seals.newest_seal(connection)
    return Seal.from_mapping(dict(row)) if row else None


def read_sealed(workspace: Workspace) -> Sealed:
    """All seals and block roots. To compare them with a log, read them before it: a log only grows."""
    with workspace.catalog.read() as connection:
        rows = seals.seal_rows(connection)
        blocks = seals.block_roots(connection)
    return Sealed([Seal.from_mapping(dict(row)) for row in rows], blocks)


def _sealed_from(workspace: Workspace, log: LogReader, last: Seal | None, report: Progress) -> Seal | None:
    """Seal from `last` on to the end of the log; None when another process was there first."""
    tree, blocks = tree_of(last) if last else Frontier(), dict[int, bytes]()
    for file in log.covering(tree.size + 1, log.last_sequence):
        tree, completed = _with_file(log, file, tree)
        blocks |= completed
        if tree.size == log.last_sequence or tree.size - (last.tree_size if last else 0) >= SEAL_EVERY:
            made = next_seal(last, tree, file.segments[-1], stored_text(workspace.clock()))
            with workspace.catalog.write() as connection:
                if not seals.append_seal(connection, made.__dict__, _hexes(blocks)):
                    return None
            last, blocks = made, {}
        report(file.event_count)
    return last


def _hexes(blocks: Mapping[int, bytes]) -> dict[int, str]:
    return {position: root.hex() for position, root in blocks.items()}


def _with_file(log: LogReader, file: LogFile, tree: Frontier) -> tuple[Frontier, dict[int, bytes]]:
    log.require_sound(file)
    events = log.events(file)
    fresh = events.slice(tree.size + 1 - file.first_sequence)
    expected = range(tree.size + 1, file.last_sequence + 1)
    if fresh.height != len(expected) or (fresh["sequence"][0], fresh["sequence"][-1]) != (expected[0], expected[-1]):
        raise StorageError(
            "segment_unreadable",
            f"{file.name}: expected the events {expected[0]} to {expected[-1]}, found {fresh.height}. "
            "Run `clearwell verify`.",
        )
    return tree.extended(leaf_hashes(fresh).tobytes())
