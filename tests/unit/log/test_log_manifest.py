"""The chain over the manifest: each thing that can be wrong in it is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearwell.log.manifest import Segment, chain_faults


def codes(segments: list[Segment]) -> set[str]:
    return {fault.code for fault in chain_faults(segments)}


def test_a_sound_chain_has_no_faults(chain: list[Segment]) -> None:
    """Nothing is said of a chain as the door writes it, nor of an empty one."""
    assert chain_faults(chain) == chain_faults([]) == []


CHANGES: dict[str, dict[str, object]] = {
    "segment_number_gap": {"number": 4},
    "sequence_gap": {"first_sequence": 4, "last_sequence": 5},
    "event_count_wrong": {"event_count": 3},
    "chain_broken": {"previous_hash": "2" * 64},
    "recorded_at_not_later": {"recorded_at": "2026-01-01T00:00:00.000000Z"},
}


@pytest.mark.parametrize("code", CHANGES)
def test_a_forged_row_is_named_even_when_it_is_sealed_again(chain: list[Segment], code: str) -> None:
    """A changed row with a fitting hash of its own still breaks the rule it broke, and the chain after it."""
    first, second, third = chain
    forged = replace(second, **CHANGES[code]).sealed()  # type: ignore[arg-type]
    faults = chain_faults([first, forged, third])
    assert code in {fault.code for fault in faults if fault.number == forged.number}
    assert "chain_broken" in {fault.code for fault in faults if fault.number == 3}


@pytest.mark.parametrize("name", [name for name in Segment.__dataclass_fields__ if name != "hash"])
def test_every_field_is_under_the_hash(chain: list[Segment], name: str) -> None:
    """A change of any one field shows as a changed row."""
    first, second, third = chain
    value = getattr(second, name)
    changed = replace(second, **{name: value + 1 if isinstance(value, int) else value + "x"})  # type: ignore[arg-type]
    assert "manifest_row_changed" in codes([first, changed, third])


def test_missing_and_swapped_rows_are_named(chain: list[Segment]) -> None:
    """A row that is gone, and two that changed places, break numbers, sequences and chain."""
    first, second, third = chain
    for wrong in ([first, third], [first, third, second], [second, third]):
        assert {"segment_number_gap", "sequence_gap", "chain_broken"} <= codes(wrong)
