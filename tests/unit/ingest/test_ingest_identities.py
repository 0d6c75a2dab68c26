"""The index of identities: stored runs are used again when they are sound, and made anew when they are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from clearwell.ingest import identities
from clearwell.log.reader import LogReader

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]
Damage = Callable[[Path], object]


@pytest.fixture
def filled(ledger: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Thirty events in three segments, of which stored runs exist."""
    monkeypatch.setattr(identities, "STORED_AT", 8)
    for start in range(0, 30, 10):
        ledger.ingest(*(creation(id=f"e{number}") for number in range(start, start + 10)))
    assert runs(ledger)
    return ledger


def runs(ledger: Ledger) -> list[Path]:
    return sorted((ledger.data / "identities").glob("*.npy"))


def test_stored_runs_are_used_again(filled: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart the log is read only beyond what the runs cover, and known events are still known."""
    read: list[int] = []
    after = LogReader.after

    def counted(self: LogReader, sequence: int, columns: Any = None, without: Any = ()) -> Any:
        if columns:
            read.append(sequence)
        return after(self, sequence, columns, without)

    monkeypatch.setattr(LogReader, "after", counted)
    receipt = filled.ingest(*(creation(id=f"e{number}") for number in range(31)))
    assert (receipt.accepted, receipt.duplicates) == (1, 30)
    assert read == [30]


def _other_shape(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3, dtype=np.uint64))


def _other_rows(path: Path) -> None:
    """A file of the right form whose hashes are not those of the events."""
    rows = np.load(path)
    with path.open("wb") as file:
        np.save(file, rows + np.uint64(1))


DAMAGES: dict[str, Damage] = {
    "deleted": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "garbage": lambda path: path.write_bytes(b"garbage" * 50),
    "other_shape": _other_shape,
    "other_rows": _other_rows,
    "foreign_fingerprint": lambda path: path.rename(path.with_name("identities-" + "0" * 16 + path.name[27:])),
    "foreign_name": lambda path: path.rename(path.with_name(path.name[:28] + "what-ever.npy")),
    "leftover_part": lambda path: path.with_suffix(".part").write_bytes(b"half"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_run_that_is_not_sound_is_made_anew(filled: Ledger, creation: Make, damage: Damage) -> None:
    """No event is taken in twice, and nothing fails, whatever happened to the files of the index."""
    for path in runs(filled):
        damage(path)
    receipt = filled.ingest(*(creation(id=f"e{number}") for number in range(31)))
    assert (receipt.accepted, receipt.duplicates) == (1, 30)
    assert all(path.suffix == ".npy" for path in (filled.data / "identities").iterdir())


def test_many_small_batches_find_every_identity(
    ledger: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the runs were merged and stored on the way, every event is known once, and only once."""
    monkeypatch.setattr(identities, "STORED_AT", 4)
    monkeypatch.setattr(identities, "LARGEST_RUN", 8)
    for number in range(12):
        receipt = ledger.ingest(*(creation(id=f"e{n}") for n in range(max(0, number - 2), number + 1)))
        assert (receipt.accepted, receipt.duplicates) == (1, min(number, 2))
    receipt = ledger.ingest(*(creation(id=f"e{number}") for number in range(12)))
    assert (receipt.accepted, receipt.duplicates) == (0, 12)
