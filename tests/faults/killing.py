"""Rounds of kill -9: a child works on a ledger, is killed at a random moment, and another child looks at what is there.

Run as a program of its own: it imports everything once and forks for every act, so that a round costs about a second.
It must never start a thread itself, for a fork would not have it: the ledger is only ever touched by children. The few
threads that libraries start when they are imported keep house, and are not missed.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from clearwell.application import verifying
from clearwell.bootstrap import open_workspace
from clearwell.catalog import quarantine  # noqa: F401  (Imported before the fork, as everything that is used.)
from clearwell.project import Project, open_project

FLOW = """
flow: card_payments
owner: payments
accounts:
  network: {kind: reservoir, properties: [network]}
  undisbursed: {kind: clearing, properties: [charge, business], clears_within: 10 minutes}
  balance: {kind: reservoir, properties: [business]}
events:
  charge.creation: {producer: charges, moves: [{amount: gross, from: network, to: undisbursed}]}
  charge.release: {producer: disbursements, moves: [{amount: gross, from: undisbursed, to: balance}]}
"""
SETTINGS = "{compaction_events: 300, batch_events: 40}"
BATCH_EVENTS = 30
ROUNDS_PER_LEDGER = 8
MOST_ACKNOWLEDGEMENTS = 4
STUCK_SECONDS = 120.0

_TASKS = Path("/proc/self/task")
_THREADS_OF_IMPORTS = len(list(_TASKS.iterdir()))

Acknowledge = Callable[[list[str]], None]
Work = Callable[[Path, int, Acknowledge], None]


def records(batch: int) -> list[dict[str, Any]]:
    """The events of a batch: charges, and the release of every second one of the batch before."""
    made = [_event("charge.creation", "c", batch, number) for number in range(BATCH_EVENTS)]
    return made + [_event("charge.release", "r", batch - 1, number) for number in range(0, BATCH_EVENTS, 2)]


def _event(event_type: str, letter: str, batch: int, number: int) -> dict[str, Any]:
    return {
        "type": event_type,
        "id": f"{letter}-{batch}-{number}",
        "effective_at": f"2026-01-02T03:{number:02d}:05Z",
        "occurred_at": f"2026-01-02T03:{number:02d}:05Z",
        "currency": "USD",
        "properties": {"charge": f"ch-{batch}-{number}", "business": "acct_A", "network": "visa"},
        "amounts": {"gross": 100 + number},
    }


def ndjson_file(folder: Path, batch: int, extra: bytes = b"") -> Path:
    path = folder / "batch.ndjson"
    path.write_bytes(b"".join(json.dumps(item).encode() + b"\n" for item in records(batch)) + extra)
    return path


def taken_in(project: Project, path: Path, batch: int, acknowledge: Acknowledge) -> None:
    project.ingest(path)
    acknowledge([item["id"] for item in records(batch)])


def _ingest_ndjson(folder: Path, first: int, acknowledge: Acknowledge) -> None:
    with open_project(folder) as project:
        for batch in _from(first):
            taken_in(project, ndjson_file(folder, batch), batch, acknowledge)


def _ingest_parquet(folder: Path, first: int, acknowledge: Acknowledge) -> None:
    with open_project(folder) as project:
        for batch in _from(first):
            path = folder / "batch.parquet"
            pl.DataFrame([_row(item) for item in records(batch)]).write_parquet(path)
            taken_in(project, path, batch, acknowledge)


def _row(record: dict[str, Any]) -> dict[str, Any]:
    names = ("type", "id", "effective_at", "occurred_at", "currency")
    properties = {f"property_{name}": value for name, value in record["properties"].items()}
    return {name: record[name] for name in names} | properties | {"amount_gross": record["amounts"]["gross"]}


def _fold(folder: Path, first: int, acknowledge: Acknowledge) -> None:
    """The projections are folded anew, or away and found missing, after every batch."""
    with open_project(folder) as project:
        for batch in _from(first):
            taken_in(project, ndjson_file(folder, batch), batch, acknowledge)
            if batch % 2:
                project.rebuild()
            else:
                (folder / "data" / "projections.duckdb").unlink()
            project.status()


def _compact(folder: Path, first: int, acknowledge: Acknowledge) -> None:
    with open_project(folder) as project:
        for batch in _from(first):
            taken_in(project, ndjson_file(folder, batch), batch, acknowledge)
            if batch % 3 == 0:
                project.compact()


def _retry(folder: Path, first: int, acknowledge: Acknowledge) -> None:
    """A record of every batch is refused, and comes in, corrected, from quarantine."""
    with open_project(folder) as project:
        for batch in _from(first):
            late = _event("charge.release", "late", batch, 1)
            refused = {**late, "properties": {"charge": "ch"}}
            taken_in(project, ndjson_file(folder, batch, json.dumps(refused).encode() + b"\n"), batch, acknowledge)
            for item in project.quarantined(limit=5):
                whole = {**json.loads(item.record), "properties": late["properties"]}
                project.retry_quarantine([item.number], json.dumps(whole).encode())
                acknowledge([whole["id"]])


WORK: dict[str, Work] = {
    "ingest of NDJSON": _ingest_ndjson,
    "ingest of Parquet": _ingest_parquet,
    "fold": _fold,
    "compaction": _compact,
    "retry from quarantine": _retry,
}


def _from(first: int) -> Iterator[int]:
    batch = first
    while True:
        yield batch
        batch += 1


def check(folder: Path, acknowledged: list[str]) -> None:
    """Every acknowledged event is in the log once, no event is there twice, and the state is what a rebuild gives."""
    with open_workspace(folder) as workspace:
        if not workspace.periods():
            assert not acknowledged
            return
        found = Counter(name for _, events in workspace.log().after(0, ["id"]) for name in events["id"])
        assert [name for name in acknowledged if name not in found] == []
        assert [name for name, count in found.items() if count > 1] == []
        assert list(verifying.verify(workspace).faults) == []


@dataclass
class Rounds:
    """What happened: rounds done, and how many children had acknowledged something before they were killed."""

    work: str
    seed: int
    rounds: int = 0
    with_acknowledgement: int = 0
    acknowledged_events: int = 0
    batches: int = 1
    _acknowledged: list[str] = field(default_factory=list)
    _pace: float = 0.2

    def run(self, home: Path, count: int) -> None:
        """So many rounds. Raises AssertionError with the round, when something is lost, doubled or wrong."""
        chance = random.Random(self.seed)
        while self.rounds < count:
            if self.rounds % ROUNDS_PER_LEDGER == 0:
                folder = new_ledger(home / str(self.rounds))
                self._acknowledged, self.batches = [], 1
            self._round(folder, chance)
            self.rounds += 1

    def _round(self, folder: Path, chance: random.Random) -> None:
        """Kill the child some time, about as long as a batch takes, after its so-and-so-many-th acknowledgement."""
        reader, writer = os.pipe()

        def acknowledge(names: list[str]) -> None:
            os.write(writer, (json.dumps(names) + "\n").encode())

        child = _forked(lambda: WORK[self.work](folder, self.batches, acknowledge))
        os.close(writer)
        wanted = chance.randrange(MOST_ACKNOWLEDGEMENTS)
        begun = time.monotonic()
        told = _until(reader, begun + STUCK_SECONDS, wanted)
        self._pace = (time.monotonic() - begun) / (wanted + 1) if wanted else self._pace
        told += _until(reader, time.monotonic() + chance.uniform(0, 1.5 * self._pace))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        told += _until(reader, time.monotonic() + STUCK_SECONDS)
        os.close(reader)
        if not os.WIFSIGNALED(status):
            raise AssertionError(f"round {self.rounds}: the child ended by itself with {status}")
        lines = told.decode().splitlines()
        self.with_acknowledgement += bool(lines)
        for line in lines:
            names = json.loads(line)
            self._acknowledged += names
            self.acknowledged_events += len(names)
            self.batches = max(self.batches, *(int(name.split("-")[1]) + 1 for name in names if name[0] == "c"), 1)
        if not _succeeds(lambda: check(folder, self._acknowledged)):
            raise AssertionError(f"round {self.rounds} of {self.work}, seed {self.seed}: see above")


def new_ledger(folder: Path) -> Path:
    (folder / "flows").mkdir(parents=True)
    (folder / "flows" / "flow.yaml").write_text(FLOW, encoding="utf-8")
    (folder / "clearwell.yaml").write_text(SETTINGS, encoding="utf-8")
    return folder


def _forked(act: Callable[[], None]) -> int:
    """The process that does `act`, and ends with 0 when it returns."""
    if len(list(_TASKS.iterdir())) > _THREADS_OF_IMPORTS:
        raise AssertionError("threads were started before the fork")
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        act()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _succeeds(act: Callable[[], None]) -> bool:
    """Whether a process of its own does `act` without an error, and does not hang."""
    reader, writer = os.pipe()
    child = _forked(act)
    os.close(writer)
    _until(reader, time.monotonic() + STUCK_SECONDS)  # Closed when the child ends.
    os.close(reader)
    ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        time.sleep(0.1)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print("the child was stuck", file=sys.stderr)
    return bool(ended) and status == 0


def _until(reader: int, moment: float, lines: int | None = None) -> bytes:
    """What the pipe brings until then, or until it is closed, or so many lines are there."""
    told = b""
    while (left := moment - time.monotonic()) > 0 and (lines is None or told.count(b"\n") < lines):
        if not select.select([reader], [], [], left)[0]:
            break
        piece = os.read(reader, 1 << 16)
        if not piece:
            break
        told += piece
    return told


def main(work: str, seed: str, count: str, home: str) -> None:
    """Do the rounds, and print what happened as JSON."""
    sys.path.append(str(Path(__file__).parents[1]))
    import catalogs

    catalogs.use_as_told()
    done = Rounds(work, int(seed))
    done.run(Path(home), int(count))
    figures = {name: getattr(done, name) for name in ("rounds", "with_acknowledgement", "acknowledged_events")}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
