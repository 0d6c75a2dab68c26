"""What is asked after a fault: what a command said, what waits in quarantine, and the proof that all is there once."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import pytest

from clearwell.application import quarantining

if TYPE_CHECKING:
    from conftest import Ledger

IN_CI = bool(os.environ.get("CI"))


@dataclass(frozen=True)
class Ran:
    """What a command gave: its exit code, and its two outputs."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The stable code of the error, of a command with --json; empty when there was none."""
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
            return str(json.loads(self.err.strip().splitlines()[-1])["error"]["code"])
        return self.err.strip().rpartition("[")[2].rstrip("]") if self.err.strip().endswith("]") else ""


Command = Callable[..., Ran]


@dataclass
class Tally:
    """Counts the rounds of a test; a test that says nothing has one."""

    rounds: int = 0


def prove(ledger: Ledger, ids: Iterable[str]) -> None:
    """The log has exactly these events, once each; `verify`, which also folds everything anew, finds nothing."""
    with ledger.open() as workspace:
        found = [frame["id"] for _, frame in workspace.log().after(0, ["id"])]
    events = pl.concat(found).to_list() if found else []
    assert sorted(events) == sorted(ids)
    assert list(ledger.verify().faults) == []


def waiting(ledger: Ledger) -> list[tuple[str, str, bytes]]:
    """Code, field and record of all that waits in quarantine."""
    with ledger.open() as workspace:
        records = list(quarantining.all_waiting(workspace))
    return [(item.reason.code, item.reason.field, item.record) for item in records]


def skip_aloud(reason: str) -> None:
    """Skip where that is a person's business; in CI a fault that cannot be made is a failure."""
    if IN_CI:
        pytest.fail(f"a skip is a failure in CI: {reason}")
    pytest.skip(reason)
