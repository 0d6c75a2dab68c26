"""What the workspace of somebody else shares with the one it is of, and whom the audit names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clearwell.application import auditing
from clearwell.application.workspace import Workspace
from clearwell.catalog.audit import AuditFilter
from clearwell.errors import UsageError
from clearwell.values.actors import Actor

if TYPE_CHECKING:
    from conftest import Ledger


def test_somebody_else_acts_in_the_same_open_project(ledger: Ledger) -> None:
    """The catalog, the lease and what was read are shared; only who acts is another."""
    with ledger.open() as workspace:
        other = workspace.by(Actor("key k", "10.0.0.1"))
        assert other.catalog is workspace.catalog
        assert other.shared is workspace.shared
        assert other._read_log is workspace._read_log
        assert workspace.actor is None
        auditing.note_after(workspace, "a.b")
        auditing.note_after(other, "a.b", "thing", count=1)
        (entry,) = auditing.entries(workspace, AuditFilter())
        assert (entry.who, entry.act, entry.subject, entry.details) == ("key k", "a.b", "thing", {"count": 1})


def _half(workspace: Workspace) -> None:
    with auditing.noting(workspace, "a.b") as told:
        told.update(done=1)
        raise UsageError("stopped", "no")


def test_an_act_that_fails_half_way_is_noted_and_one_that_was_refused_is_not(ledger: Ledger) -> None:
    """What left something has an entry with the error's code; what left nothing has none."""
    with ledger.open() as workspace:
        other = workspace.by(Actor("key k", ""))
        with pytest.raises(UsageError), auditing.noting(other, "a.b"):
            raise UsageError("refused", "no")
        assert auditing.entries(other, AuditFilter()) == []
        with pytest.raises(UsageError):
            _half(other)
        (entry,) = auditing.entries(other, AuditFilter())
        assert entry.details == {"done": 1, "failed": "stopped"}
