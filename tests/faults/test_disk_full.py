"""A disk that is full at every stage of every command: a named error, nothing lost, and room completes the work."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aftermath import Command, Ran, Tally, prove, skip_aloud, waiting

from clearwell.ingest import identities

if TYPE_CHECKING:
    from conftest import Ledger

Creations = Callable[[int, int], list[dict[str, Any]]]

DISK_KILOBYTES = 32_768
_EVERY = (0, 8, 16, 32, *range(40, 112, 8), 128, 160, 200, *range(240, 340, 8), 400, 512, 640, 800)
_SOME = (0, 8, 16, 32, 48, 64, 80, 104, 160, 200, 240, 288, 336, 512, 640, 800)
LEFT_KILOBYTES = _EVERY if "FAULT_ROUNDS" in os.environ else _SOME
"""So much room is left before each try; together they let every stage of a command be the one that fails.

`make faults` tries steps of 8 KB where one stage follows another.
"""

NAMED = {"catalog_not_writable", "catalog_unusable", "log_not_writable", "projections_not_writable"}


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A memory file system of a few megabytes at `folder`."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KILOBYTES}k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if shutil.which("mount") else None
    if done is None or done.returncode:
        skip_aloud(f"a file system cannot be mounted here: {done.stderr if done else 'no mount'}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def only(ledger: Ledger, kilobytes: int) -> Iterator[None]:
    """The disk is full but for so much."""
    filler = ledger.data / "filler"
    state = os.statvfs(ledger.data)
    filler.write_bytes(b"x" * (state.f_bavail * state.f_frsize - kilobytes * 1_024))
    try:
        yield
    finally:
        filler.unlink()


def named(ran: Ran, *more: str) -> None:
    assert ran.code == 3, ran
    assert ran.error in {*NAMED, *more}, ran


@pytest.mark.fault("The disk is full at any stage of an ingest: segment, catalog, quarantine, projections")
def test_ingest_on_a_full_disk(ledger: Ledger, command: Command, creations: Creations, tally: Tally) -> None:
    """It stops by name with exit code 3; questions and `verify` answer or say why not; with room it completes."""
    seen = set()
    with small_disk(ledger.data):
        ledger.ingest(*creations(1, 3))
        ids = {"evt_1", "evt_2", "evt_3"}
        for number, room in enumerate(LEFT_KILOBYTES, start=1):
            tally.rounds += 1
            records = creations(10_000 * number, 1_500)
            for record in records:
                record["properties"]["note"] = os.urandom(100).hex()  # So that the segment is no smaller than the rest.
            bad = [{"bad": f"{number}-{place}", "x": os.urandom(200).hex()} for place in range(20)]
            lines = [json.dumps(item).encode() for item in (*records, *bad)]
            path = ledger.write(b"\n".join(lines), f"in-{number}.ndjson")
            with only(ledger, room):
                ran = command(ledger, "ingest", str(path), "--json")
                if ran.code != 1:
                    named(ran)
                    seen.add(ran.error)
                for arguments in (["status"], ["verify"]):
                    asked = command(ledger, *arguments)
                    if asked.code:
                        named(asked, "scratch_not_writable")
            again = json.loads(command(ledger, "ingest", str(path), "--json").out)
            assert (again["accepted"] + again["duplicates"], again["quarantined"]) == (1_500, 20)
            ids |= {item["id"] for item in records}
            assert len(waiting(ledger)) == 20 * number
        prove(ledger, ids)
    assert seen >= {"catalog_not_writable", "log_not_writable", "projections_not_writable"}


@pytest.mark.fault("The disk is full during `rebuild`, `verify`, `compact` and `quarantine retry`")
def test_other_commands_on_a_full_disk(ledger: Ledger, command: Command, creations: Creations, tally: Tally) -> None:
    """Each stops by name with exit code 3, or completes; nothing is lost, and with room it completes."""
    failed = set()
    with small_disk(ledger.data):
        for first in range(6):
            ledger.ingest(*creations(1 + 400 * first, 400), b'{"bad": %d}' % first, name=f"in-{first}.ndjson")
        ids = [f"evt_{number}" for number in range(1, 2_401)]
        for room in LEFT_KILOBYTES:
            for arguments in (["verify"], ["compact"], ["rebuild"], ["quarantine", "retry"]):
                tally.rounds += 1
                with only(ledger, room):
                    ran = command(ledger, *arguments)
                    if ran.code not in {0, 1}:
                        named(ran, "scratch_not_writable")
                        failed.add(arguments[0])
            ledger.ingest(*creations(10_000 + 10 * room, 5))
            ids += [f"evt_{10_000 + 10 * room + place}" for place in range(5)]
        for arguments in (["compact"], ["rebuild"], ["verify"]):
            assert command(ledger, *arguments).code == 0
        assert len(waiting(ledger)) == 6
        prove(ledger, ids)
    assert failed == {"verify", "compact", "rebuild", "quarantine"}


@pytest.mark.fault("The disk is full when known identities are written down")
def test_identities_on_a_full_disk(
    ledger: Ledger, creations: Creations, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay in memory: the ingest goes on, and no event comes in twice."""
    monkeypatch.setattr(identities, "STORED_AT", 4)
    refused: list[str] = []

    def full(self: Path, target: Path) -> Path:
        if self.suffix == ".part" and self.parent.name == "identities":
            refused.append(self.name)
            raise OSError(28, "No space left on device")
        return original(self, target)

    original = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        for number in range(4):
            tally.rounds += 1
            assert ledger.ingest(*creations(1 + 10 * number, 10)).accepted == 10
            assert ledger.ingest(*creations(1, 10)).duplicates == 10
    assert refused
    prove(ledger, [f"evt_{number}" for number in range(1, 41)])


_LIMITED = """
import resource, signal, sys
from clearwell.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.fault("A quota: no file may grow beyond a size, at any stage of an ingest")
@pytest.mark.parametrize("kilobytes", [0, 1, 5, 20, 40, 70, 200, 500])
def test_ingest_within_a_quota(ledger: Ledger, command: Command, creations: Creations, kilobytes: int) -> None:
    """It stops by name with exit code 3 or completes; without the quota it completes, and nothing is doubled."""
    assert signal.getsignal(signal.SIGXFSZ) is not None
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    ledger.ingest(*creations(1, 3))
    lines = [json.dumps(item).encode() for item in creations(100, 2_000)]
    path = ledger.write(b"\n".join(lines), "in.ndjson")
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(kilobytes * 1_024), "ingest", str(path), "-p", str(ledger.folder)],
        capture_output=True,
        text=True,
        check=False,
        env=ledger.environment,
    )
    if done.returncode:
        assert "this is its mistake" not in done.stderr
        named(Ran(done.returncode, done.stdout, done.stderr))
    receipt = json.loads(command(ledger, "ingest", str(path), "--json").out)
    assert receipt["accepted"] + receipt["duplicates"] == 2_000
    prove(ledger, ["evt_1", "evt_2", "evt_3", *(f"evt_{number}" for number in range(100, 2_100))])
