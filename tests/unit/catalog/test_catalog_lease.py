"""The writer's lease: one at a time, taken over when its holder is gone, and useless to whoever has lost it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.application import ingesting
from clearwell.application import writing as application_writing
from clearwell.application.writing import writing
from clearwell.catalog.lease import LEASE, WriterLease
from clearwell.errors import StorageError
from clearwell.ingest.inputs import file_input

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]

PAUSED = """
import os, signal, sys
from datetime import datetime
from clearwell.application import ingesting
from clearwell.bootstrap import open_workspace
from clearwell.errors import StorageError
from clearwell.ingest import door
from clearwell.ingest.inputs import file_input

folder, events, now = sys.argv[1:]
written = door.write_segment

def paused(*arguments):
    file = written(*arguments)
    os.kill(os.getpid(), signal.SIGSTOP)
    return file

door.write_segment = paused
try:
    with open_workspace(folder, clock=lambda: datetime.fromisoformat(now)) as workspace:
        ingesting.ingest(workspace, [file_input(events)])
except StorageError as error:
    sys.exit(error.code)
"""


def test_a_paused_writer_cannot_commit(ledger: Ledger, creation: Make) -> None:
    """A writer is stopped with its segment written; another takes the lease over and commits; the first one, awake
    again, is refused, and none of its events are there."""
    ledger.ingest(creation())
    events = ledger.write(json.dumps(creation(id="paused")).encode(), "paused.ndjson")
    arguments = [sys.executable, "-c", PAUSED, str(ledger.folder), str(events), ledger.clock.now.isoformat()]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=ledger.environment) as first:
        _, status = os.waitpid(first.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        with pytest.raises(StorageError) as caught:
            ledger.ingest(creation(id="too early"))
        assert caught.value.code == "writer_busy"
        ledger.clock.now += LEASE + timedelta(seconds=1)
        assert ledger.ingest(creation(id="second")).last_sequence == 2
        os.kill(first.pid, signal.SIGCONT)
        _, told = first.communicate(timeout=60)
    assert told.strip().endswith("writer_lease_lost")
    with ledger.open() as workspace:
        log = workspace.log()
        assert [item for file in log.files for item in log.events(file)["id"]] == ["evt_1", "second"]
    assert ledger.fault_codes() == set()
    assert ledger.ingest_file(events).accepted == 1


def test_a_dead_writer_is_followed_at_once(ledger: Ledger, creation: Make) -> None:
    """The lease of a process of this machine that has ended need not run out first."""
    ledger.ingest(creation())
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
    with ledger.open() as workspace:
        lease = WriterLease(workspace.catalog, f"{os.uname().nodename}/{ended.pid}/0", workspace.clock)
        lease.acquire(lambda _holder: False)
    assert ledger.ingest(creation(id="e2")).accepted == 1


def test_work_of_this_process_that_is_over_is_followed_at_once(ledger: Ledger, creation: Make) -> None:
    """A lease that could not be given back, as on a full disk, does not shut its own process out."""
    ledger.ingest(creation())
    with ledger.open() as workspace:
        own = f"{os.uname().nodename}/{os.getpid()}/0"
        WriterLease(workspace.catalog, own, workspace.clock).acquire(lambda _holder: False)
        with writing(workspace), pytest.raises(StorageError) as caught:
            ledger.ingest(creation(id="e2"))
    assert caught.value.code == "writer_busy"
    assert ledger.ingest(creation(id="e2")).accepted == 1


def test_users_of_a_workspace_share_a_lease(ledger: Ledger, creation: Make) -> None:
    """Whoever took it may go first: who is left commits under it, and others have it when the last one has gone."""
    ledger.ingest(creation())
    path = ledger.write(json.dumps(creation(id="left")).encode(), "left.ndjson")
    with ledger.open() as workspace:
        first, last = ExitStack(), ExitStack()
        lease = first.enter_context(writing(workspace))
        assert last.enter_context(writing(workspace)) is lease
        first.close()
        with last:
            with pytest.raises(StorageError) as caught:
                ledger.ingest(creation(id="e2"))
            assert caught.value.code == "writer_busy"
            assert ingesting.ingest(workspace, [file_input(str(path))]).accepted == 1
            lease.renew()  # It is still the one that was taken first.
        assert ledger.ingest(creation(id="e2")).accepted == 1
        with writing(workspace) as anew:
            assert anew.fencing_number > lease.fencing_number


@pytest.mark.parametrize("holder", ["another-machine/1/0", "{here}/1/0", "nonsense"])
def test_a_writer_that_may_live_is_waited_for(ledger: Ledger, creation: Make, holder: str) -> None:
    """Another machine's process, a process that is there, and one that nobody can tell of, keep their lease."""
    ledger.ingest(creation())
    with ledger.open() as workspace:
        named = holder.format(here=os.uname().nodename)
        WriterLease(workspace.catalog, named, workspace.clock).acquire(lambda _holder: False)
    with pytest.raises(StorageError) as caught:
        ledger.ingest(creation(id="e2"))
    assert caught.value.code == "writer_busy"
    ledger.clock.now += LEASE
    assert ledger.ingest(creation(id="e2")).accepted == 1


def test_a_lease_from_the_future_is_none(ledger: Ledger, creation: Make) -> None:
    """After a clock went back, a lease that seems to last longer than any can does not shut everybody out."""
    ledger.ingest(creation())
    ledger.clock.now += timedelta(days=1)
    with ledger.open() as workspace:
        WriterLease(workspace.catalog, "another-machine/1/0", workspace.clock).acquire(lambda _holder: False)
    ledger.clock.now -= timedelta(days=1)
    assert ledger.ingest(creation(id="e2")).accepted == 1


def test_a_lease_is_kept_by_its_heartbeat(ledger: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that waits for input for longer than a lease lasts still has it."""
    ledger.ingest(creation())
    monkeypatch.setattr(application_writing, "_RENEWALS_PER_LEASE", 3_000)
    with ledger.open() as workspace, writing(workspace) as lease:
        ledger.clock.now += 3 * LEASE
        renewed = workspace.clock() + LEASE
        while _expiry(workspace.catalog) < renewed.isoformat():
            pass
        with pytest.raises(StorageError) as caught:
            ledger.ingest(creation(id="e2"))
        assert caught.value.code == "writer_busy"
        lease.renew()
    assert ledger.ingest(creation(id="e2")).accepted == 1


def _expiry(catalog: Any) -> str:
    with catalog.read() as connection:
        found: str = connection.exec_driver_sql("SELECT expires_at FROM writer_lease").scalar_one()
    return found


def test_fencing_numbers_only_grow(ledger: Ledger, creation: Make, tmp_path: Path) -> None:
    """Every writer gets a number of its own; a lost lease commits nothing and cannot be given back."""
    ledger.ingest(creation())
    with ledger.open() as workspace:
        first, second = (WriterLease(workspace.catalog, f"m/{number}/0", workspace.clock) for number in (1, 2))
        first.acquire(lambda _holder: False)
        second.acquire(lambda _holder: True)
        assert second.fencing_number == first.fencing_number + 1
        with pytest.raises(StorageError) as caught:
            first.renew()
        assert caught.value.code == "writer_lease_lost"
        first.release()
        second.renew()
