"""The chain of seals: each thing that can be wrong in it is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearwell.log.manifest import Segment
from clearwell.log.merkle import Frontier, leaf_hash
from clearwell.log.seals import Seal, next_seal, seal_faults


def tree(size: int) -> Frontier:
    return Frontier().extended(b"".join(leaf_hash(str(number).encode()) for number in range(size)))[0]


@pytest.fixture
def seals(chain: list[Segment]) -> list[Seal]:
    """Seals at the ends of the first and third of three segments."""
    first = next_seal(None, tree(2), chain[0], "2026-01-01T00:00:00.000000Z")
    return [first, next_seal(first, tree(6), chain[2], "2026-01-03T00:00:00.000000Z")]


def codes(seals: list[Seal], chain: list[Segment]) -> set[str]:
    return {fault.code for fault in seal_faults(seals, chain)}


def test_sound_seals_have_no_faults(seals: list[Seal], chain: list[Segment]) -> None:
    """Nothing is said of seals as they are made, nor of none; the tree goes on growing from them."""
    assert codes(seals, chain) == codes([], chain) == set()
    assert seals[0].tree() == tree(2)
    assert seals[1].tree().root().hex() == seals[1].root


FORGED: dict[str, dict[str, object]] = {
    "seal_broken": {"previous_hash": "0" * 64},
    "seal_segment_wrong": {"segment_hash": "0" * 64},
    "seal_root_wrong": {"root": "0" * 64},
    "seal_not_later": {"tree_size": 2},
}


@pytest.mark.parametrize("code", FORGED)
def test_a_forged_seal_is_named_even_when_its_hash_fits(seals: list[Seal], chain: list[Segment], code: str) -> None:
    """A changed seal with a fitting hash of its own still breaks the rule it broke."""
    forged = replace(seals[1], **FORGED[code]).linked()  # type: ignore[arg-type]
    assert code in codes([seals[0], forged], chain)


@pytest.mark.parametrize("name", [name for name in Seal.__dataclass_fields__ if name != "hash"])
def test_no_field_can_be_changed_alone(seals: list[Seal], chain: list[Segment], name: str) -> None:
    """Every field is under the seal's hash."""
    value = getattr(seals[1], name)
    forged = replace(seals[1], **{name: value + 1 if isinstance(value, int) else value + "0"})
    assert "seal_changed" in codes([seals[0], forged], chain)


def test_a_seal_that_is_gone_is_missed(seals: list[Seal], chain: list[Segment]) -> None:
    """Without the first, the second has neither the right number nor the right link."""
    assert codes(seals[1:], chain) == {"seal_broken"}


@pytest.mark.parametrize("frontier", ["[]", "null", "{", '["zz"]', '["00", 3, 4]', "7"])
def test_a_frontier_that_is_none_is_named(seals: list[Seal], chain: list[Segment], frontier: str) -> None:
    """A frontier of the wrong length or form cannot give the root."""
    forged = replace(seals[1], frontier=frontier).linked()
    assert codes([seals[0], forged], chain) == {"seal_root_wrong"}
