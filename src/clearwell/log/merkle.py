"""The Merkle tree of RFC 6962 over leaf hashes: growing it, and proofs that others check. Rules only, nothing stored.

Leaf i of the log's tree is the event with sequence i + 1. A *perfect* subtree is named by its level (0 for a leaf) and
its position from the left: it covers the leaves from `position << level` up to `(position + 1) << level`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
BLOCK_LEVEL = 16
"""Complete blocks of 65,536 leaves are what is stored about the inside of the tree."""

EMPTY_ROOT = sha256().digest()

Nodes = Callable[[int, int], bytes]
"""The root of the perfect subtree at a level and a position."""

TreeHead = tuple[int, bytes]
"""The size of a tree, and its root."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def parents(nodes: bytes) -> bytes:
    """The level above: `nodes` are hashes end to end, taken in pairs; one that has no other is left out."""
    pair = 2 * HASH_BYTES
    return b"".join(
        [sha256(b"\x01" + nodes[at : at + pair]).digest() for at in range(0, len(nodes) // pair * pair, pair)]
    )


@dataclass(frozen=True)
class Frontier:
    """A tree of `size` leaves, as the roots of the perfect subtrees it consists of, largest (leftmost) first."""

    size: int = 0
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.roots) != self.size.bit_count():
            raise ValueError(f"expected {self.size.bit_count()} roots for {self.size} leaves, found {len(self.roots)}")

    def extended(self, leaves: bytes) -> tuple[Frontier, dict[int, bytes]]:
        """The tree with leaf hashes (end to end) appended, and the roots of the blocks completed, by position."""
        roots = dict(zip(self._levels(), self.roots, strict=True))
        size = self.size + len(leaves) // HASH_BYTES
        blocks: dict[int, bytes] = {}
        level, nodes = 0, leaves
        while nodes:
            start = self.size >> level
            if level == BLOCK_LEVEL:
                blocks = {start + place: node for place, node in enumerate(split(nodes))}
            if start & 1:
                nodes = roots.pop(level) + nodes
            if len(nodes) // HASH_BYTES & 1:
                roots[level] = nodes[-HASH_BYTES:]
            level, nodes = level + 1, parents(nodes)
        return Frontier(size, tuple(roots[level] for level in sorted(roots, reverse=True))), blocks

    def root(self) -> bytes:
        """The root of the whole tree."""
        if not self.roots:
            return EMPTY_ROOT
        *larger, found = self.roots
        for node in reversed(larger):
            found = node_hash(node, found)
        return found

    def nodes(self) -> dict[tuple[int, int], bytes]:
        """The roots by level and position."""
        return {(level, (self.size >> level) - 1): root for level, root in zip(self._levels(), self.roots, strict=True)}

    def _levels(self) -> list[int]:
        return [level for level in reversed(range(self.size.bit_length())) if self.size >> level & 1]


def split(hashes: bytes) -> list[bytes]:
    """Hashes that lie end to end, one by one."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def root_at(size: int, nodes: Nodes) -> bytes:
    """The root of the tree of the first `size` leaves."""
    return _range_root(0, size, nodes) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves, from the leaf upwards (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"expected a leaf below {size}, found {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _left_size(end - start)
        if index < middle:
            path.append(_range_root(middle, end, nodes))
            end = middle
        else:
            path.append(_range_root(start, middle, nodes))
            start = middle
    return path[::-1]


def consistency_path(first: int, second: int, nodes: Nodes) -> list[bytes]:
    """The proof that the tree of `second` leaves begins with the tree of `first` (RFC 6962, 2.1.2)."""
    if not 0 < first <= second:
        raise ValueError(
            f"expected sizes of which the first is at least 1 and at most the second, found {first}, {second}"
        )
    path: list[bytes] = []
    start, end = 0, second
    while first != end:
        middle = start + _left_size(end - start)
        if first <= middle:
            path.append(_range_root(middle, end, nodes))
            end = middle
        else:
            path.append(_range_root(start, middle, nodes))
            start = middle
    if start:  # Else the verifier knows it: it is the first tree's root.
        path.append(_range_root(start, end, nodes))
    return path[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that the leaf hash and its path give; None when the path cannot be one of that leaf and size."""
    if not 0 <= index < size:
        return None
    last, found = size - 1, leaf
    for node in path:
        if not last:
            return None
        if index & 1 or index == last:
            found = node_hash(node, found)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            found = node_hash(found, node)
        index, last = index >> 1, last >> 1
    return None if last else found


def consistency_holds(first: TreeHead, second: TreeHead, path: Sequence[bytes]) -> bool:
    """Whether the path proves that the second tree, as (size, root), begins with the first."""
    (first_size, first_root), (second_size, second_root) = first, second
    if not 0 < first_size <= second_size:
        return False
    if first_size == second_size:
        return not path and first_root == second_root
    nodes = [first_root, *path] if first_size & (first_size - 1) == 0 else list(path)
    if not nodes:
        return False
    index, last = first_size - 1, second_size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if not last:
            return False
        if index & 1 or index == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            new = node_hash(new, node)
        index, last = index >> 1, last >> 1
    return not last and old == first_root and new == second_root


def _left_size(size: int) -> int:
    """The largest power of two below `size`: how many leaves the left subtree has."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_root(start: int, end: int, nodes: Nodes) -> bytes:
    """The root over the leaves from `start` to `end`, where `start` is the begin of a right subtree of RFC 6962."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return nodes(level, start >> level)
    middle = start + _left_size(size)
    return node_hash(_range_root(start, middle, nodes), _range_root(middle, end, nodes))
