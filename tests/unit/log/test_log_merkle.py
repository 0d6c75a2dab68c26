"""The Merkle tree is the one of RFC 6962: published vectors, and a naive recursion over all sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearwell.log import merkle
from clearwell.log.merkle import EMPTY_ROOT, HASH_BYTES, Frontier, leaf_hash, node_hash

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of the trees of 0 to 8 of these leaves; inputs and roots are the test vectors of certificate-transparency."""

FIRST_OF_EIGHT = [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]

HASHES = [leaf_hash(bytes.fromhex(text)) for text in LEAVES]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, as it is written there."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else EMPTY_ROOT
    left = 1
    while 2 * left < len(leaves):
        left *= 2
    return node_hash(naive_root(leaves[:left]), naive_root(leaves[left:]))


def naive_nodes(leaves: Sequence[bytes]) -> Callable[[int, int], bytes]:
    def node(level: int, position: int) -> bytes:
        covered = leaves[position << level : (position + 1) << level]
        assert len(covered) == 1 << level, "only perfect subtrees are asked for"
        return naive_root(covered)

    return node


def made(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    """The roots of the published vectors come out, all at once and leaf by leaf."""
    whole, _ = Frontier().extended(b"".join(HASHES[:size]))
    single = Frontier()
    for leaf in HASHES[:size]:
        single, _ = single.extended(leaf)
    assert whole.root().hex() == single.root().hex() == ROOTS[size]
    assert merkle.root_at(size, naive_nodes(HASHES)).hex() == ROOTS[size]


def test_a_published_path() -> None:
    """The audit path of the first of the eight leaves is the published one."""
    assert [node.hex() for node in merkle.inclusion_path(0, 8, naive_nodes(HASHES))] == FIRST_OF_EIGHT


@given(runs=st.lists(st.integers(0, 40), max_size=8))
def test_growing_in_any_runs_gives_the_same_tree(runs: list[int]) -> None:
    """A frontier does not depend on how its leaves were batched, and its root is the naive one."""
    leaves = made(sum(runs))
    grown, at = Frontier(), 0
    for run in runs:
        grown, _ = grown.extended(b"".join(leaves[at : at + run]))
        at += run
    assert grown == Frontier().extended(b"".join(leaves))[0]
    assert grown.root() == naive_root(leaves)
    node = naive_nodes(leaves)
    assert all(root == node(*place) for place, root in grown.nodes().items())


@given(cuts=st.lists(st.integers(0, 40), max_size=4), level=st.integers(0, 4))
def test_completed_blocks_are_told(cuts: list[int], level: int) -> None:
    """Each complete block is told once, with the root of its leaves, however the leaves come."""
    leaves = made(sum(cuts))
    found: dict[int, bytes] = {}
    grown, at = Frontier(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merkle, "BLOCK_LEVEL", level)
        for run in cuts:
            grown, blocks = grown.extended(b"".join(leaves[at : at + run]))
            assert not found.keys() & blocks.keys()
            found |= blocks
            at += run
    node = naive_nodes(leaves)
    assert found == {place: node(level, place) for place in range(len(leaves) >> level)}


@pytest.mark.parametrize("size", [*range(1, 34), 63, 64, 65])
def test_every_leaf_is_proved_and_nothing_else(size: int) -> None:
    """Each leaf's path gives the root; another leaf, another place, a shorter and a longer path do not."""
    leaves = made(size)
    root = naive_root(leaves)
    for index, leaf in enumerate(leaves):
        path = merkle.inclusion_path(index, size, naive_nodes(leaves))
        assert merkle.root_from_inclusion(leaf, index, size, path) == root
        assert merkle.root_from_inclusion(leaf_hash(b"other"), index, size, path) != root
        assert merkle.root_from_inclusion(leaf, index, size, [*path, root]) is None
        assert size == 1 or merkle.root_from_inclusion(leaf, index, size, path[:-1]) is None
        for other in {index ^ 1, index + 1, index - 1, size} - {index}:
            assert merkle.root_from_inclusion(leaf, other, size, path) != root


@given(first=st.integers(1, 70), more=st.integers(0, 70), data=st.data())
def test_growth_is_proved_and_a_rewrite_is_not(first: int, more: int, data: st.DataObject) -> None:
    """A consistency path proves that a tree began with another, and fails when one leaf of the past differs."""
    second = first + more
    leaves = made(second)
    old, new = naive_root(leaves[:first]), naive_root(leaves)
    path = merkle.consistency_path(first, second, naive_nodes(leaves))
    assert merkle.consistency_holds((first, old), (second, new), path)
    assert not merkle.consistency_holds((first, old), (second, new), [*path, old])
    assert not path or not merkle.consistency_holds((first, old), (second, new), path[:-1])
    changed = data.draw(st.integers(0, first - 1))
    forged = [*leaves[:changed], leaf_hash(b"forged"), *leaves[changed + 1 :]]
    forged_root = naive_root(forged)
    forged_path = merkle.consistency_path(first, second, naive_nodes(forged))
    for attempt in (path, forged_path):
        assert not merkle.consistency_holds((first, old), (second, forged_root), attempt)


def test_wrong_requests_are_refused() -> None:
    """A leaf beyond the tree, sizes the wrong way round, and a frontier of the wrong length are errors."""
    node = naive_nodes(HASHES)
    with pytest.raises(ValueError, match="below 3"):
        merkle.inclusion_path(3, 3, node)
    with pytest.raises(ValueError, match="at most the second"):
        merkle.consistency_path(4, 3, node)
    with pytest.raises(ValueError, match="expected 2 roots"):
        Frontier(3, (bytes(HASH_BYTES),))
    assert not merkle.consistency_holds((0, EMPTY_ROOT), (1, HASHES[0]), [])
    assert not merkle.consistency_holds((3, HASHES[0]), (5, HASHES[1]), [])
