"""Events are found again by their sequences: the newest in memory, the others in the log, however they came."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from clearwell.ingest import recent
from clearwell.ingest.recent import RecentEvents


def events(first: int, count: int, name: str) -> pl.DataFrame:
    """Events with the one property that their batch has."""
    sequences = list(range(first, first + count))
    return pl.DataFrame({"sequence": sequences, name: [f"{name}{item}" for item in sequences]})


@pytest.mark.parametrize("joined", [1, 7, 20_000])
def test_each_is_found_with_its_own_columns(monkeypatch: pytest.MonkeyPatch, joined: int) -> None:
    """Batches of different columns become one frame, and what one of them lacks is null."""
    monkeypatch.setattr(recent, "_JOINED_EVENTS", joined)
    monkeypatch.setattr(recent, "KEPT_EVENTS", 25)
    kept, first = RecentEvents(), 1
    for number in range(20):
        kept.add(events(first, 1 + number % 3, f"p{number % 4}_"))
        first += 1 + number % 3
    asked: list[list[int]] = []

    def of_the_log(sequences: Any) -> pl.DataFrame:
        asked.append(sequences.tolist())
        return pl.DataFrame({"sequence": sequences, "from_log": ["yes"] * len(sequences)})

    log: Any = SimpleNamespace(at=of_the_log, last_sequence=first - 1)
    wanted = np.array([first - 1, 2, first - 9, first - 2, 3])
    found = {row["sequence"]: row for row in kept.at(wanted, log).to_dicts()}
    assert set(found) == set(wanted.tolist())
    for sequence, row in found.items():
        values = {name: value for name, value in row.items() if value is not None and name.startswith("p")}
        assert (list(values.values()) == []) == (row.get("from_log") == "yes"), row
        assert all(value == f"{name}{sequence}" for name, value in values.items())
    assert asked == [[2, 3]] or joined == 20_000


def test_only_some_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are let go, whole frames of them; few frames are left of many small batches."""
    monkeypatch.setattr(recent, "KEPT_EVENTS", 100)
    monkeypatch.setattr(recent, "_JOINED_EVENTS", 20)
    kept = RecentEvents()
    for first in range(1, 1_001):
        kept.add(events(first, 1, f"p{first % 7}_"))
    assert len(kept._batches) <= 6
    log: Any = SimpleNamespace(at=lambda sequences: pl.DataFrame({"sequence": sequences}), last_sequence=1_000)
    assert sorted(kept.at(np.array([1_000, 950, 3]), log)["sequence"]) == [3, 950, 1_000]
