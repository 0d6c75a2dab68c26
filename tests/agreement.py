"""Tells product and auditor the same story, asks both the same questions, and holds the answers together.

The product is asked through the Python API that users have; `Answers` are by family, so that a failure names one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.application import ingesting, projecting
from clearwell.errors import UsageError
from clearwell.flows.load import load_model
from clearwell.flows.model import Model
from clearwell.ingest.door import Receipt
from clearwell.ingest.inputs import file_input
from clearwell.project import Project
from clearwell.projections.store import TABLES
from clearwell.simulation.auditor import Audit, Books, Entry, Episode, Fate, Recorded, post, trace
from clearwell.values.accounts import account_name
from clearwell.values.times import stored_text

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
LEARNING = {"quantile": 0.5, "headroom": 1.2, "minimum_episodes": 2}
"""Two episodes teach a window, so that small histories have some."""

Answers = dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """Records in the wire format that arrive in one file, and how long the clock goes on after it."""

    records: tuple[Mapping[str, Any], ...]
    wait_seconds: int = 1


@dataclass(frozen=True)
class Change:
    """The flow that comes into force, the zone whose days count, and how long the clock goes on after it."""

    flow: str
    time_zone: str = "UTC"
    wait_seconds: int = 1


@dataclass(frozen=True)
class Acceptance:
    """What history teaches of windows comes into force, where any is to be learned; and how long the clock goes on."""

    wait_seconds: int = 1


@dataclass(frozen=True)
class History:
    """The first flow and its zone, how many records a segment takes at most, and what happens then."""

    flow: str
    time_zone: str
    batch_events: int
    acts: tuple[Delivery | Change | Acceptance, ...]

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """All records, in order of delivery."""
        return [record for act in self.acts if isinstance(act, Delivery) for record in act.records]


@dataclass(frozen=True)
class Ask:
    """A question: the cut as users name it, of which account type to ask the balances, what to trace, and how far."""

    at: datetime | None = None
    known_at: datetime | int | None = None
    account_type: str = ""
    traced: Mapping[str, str] = field(default_factory=dict)
    steps: int = 1


def load(text: str) -> Model:
    """The model of one flow file."""
    model, problems = load_model({"flow.yaml": text})
    assert model is not None, problems
    return model


def learning(flow: str) -> dict[str, Any]:
    """The settings by which windows are learned: of each clearing account type, and apart by its first property."""
    types = load(flow).account_types.values()
    parts = {item.name: item.properties[0] for item in types if item.kind == "clearing" and item.properties}
    return {**LEARNING, "subdivide": parts}


# --- telling ----------------------------------------------------------------------------------------------------------


@dataclass
class Both:
    """A product's ledger and the auditor that is told the same; they must agree on what is accepted."""

    ledger: Ledger
    audit: Audit
    batch_events: int
    files: int = 0

    @contextmanager
    def project(self) -> Iterator[Project]:
        """The product, open."""
        with self.ledger.open() as workspace:
            yield Project(workspace)

    def change(self, act: Change) -> None:
        """Put another flow in force, whatever it means for open accounts."""
        self.ledger.write_flow(act.flow)
        self.ledger.write_settings(
            time_zone=act.time_zone, batch_events=self.batch_events, expectations=learning(act.flow)
        )
        with self.project() as project:
            project.accept_model()
        self.audit.put_in_force(load(act.flow), act.time_zone, self.ledger.clock.now)
        self.ledger.clock.advance(seconds=act.wait_seconds)

    def accept(self, act: Acceptance) -> None:
        """Put the windows that are learned in force; the auditor is told how long they are, not since when."""
        with self.project() as project, suppress(UsageError):  # There may be none to learn.
            report = project.expectations(accept=True)
            if report.accepted:
                seconds = {row.account_type: row.seconds for row in report.accepted}
                values: dict[str, tuple[str, dict[str, int]]] = {}
                for part in report.accepted_subdivisions:
                    values.setdefault(part.account_type, (part.property_name, {}))[1][part.value] = part.seconds
                accepted_at = self.audit.accept_windows(seconds, self.ledger.clock.now, values)
                hold("accepted windows", report.accepted_at, stored_text(accepted_at))
        self.ledger.clock.advance(seconds=act.wait_seconds)

    def act(self, act: Delivery | Change | Acceptance) -> None:
        """Do one after the other what a history says."""
        match act:
            case Change():
                self.change(act)
            case Delivery():
                self.deliver(act)
            case Acceptance():
                self.accept(act)

    def deliver(self, act: Delivery) -> None:
        """Bring records in, as one file."""
        self.files += 1
        content = "".join(json.dumps(record) + "\n" for record in act.records).encode()
        self.deliver_file(self.ledger.write(content, f"delivery-{self.files}.ndjson"))
        self.ledger.clock.advance(seconds=act.wait_seconds)

    def deliver_file(self, path: Path) -> None:
        """Bring one file of records in the wire format in."""
        with self.ledger.open() as workspace:
            receipt = ingesting.ingest(workspace, [file_input(str(path))])
            refused = _refused_since(Project(workspace), path.name)
        fates = self._audited([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
        hold("duplicates and receipts", receipt, _receipt(fates))
        hold("quarantine", refused, [fate.code for fate in fates if fate.outcome == "quarantined"])

    def _audited(self, records: Sequence[Mapping[str, Any]]) -> list[Fate]:
        fates = []
        for start in range(0, len(records), self.batch_events):
            fates += self.audit.record(records[start : start + self.batch_events], self.ledger.clock.now)
        return fates


def tell(new_ledger: NewLedger, history: History) -> Both:
    """Tell a whole history to a new product and a new auditor."""
    ledger = new_ledger(
        history.flow,
        time_zone=history.time_zone,
        batch_events=history.batch_events,
        expectations=learning(history.flow),
    )
    ledger.clock.now = NOW
    both = Both(ledger, Audit(), history.batch_events)
    both.audit.put_in_force(load(history.flow), history.time_zone, NOW)
    if not (history.acts and isinstance(history.acts[0], Delivery)):  # A model can be in force before any event.
        with both.project() as project:
            project.accept_model()
    for act in history.acts:
        both.act(act)
    return both


def _refused_since(project: Project, source: str) -> list[str]:
    waiting = project.quarantined(limit=1_000_000)
    return [item.reason.code for item in waiting if Path(item.reason.source).name == source]


def _receipt(fates: Sequence[Fate]) -> Receipt:
    outcomes = Counter(fate.outcome for fate in fates)
    places = [fate.sequence for fate in fates if fate.sequence is not None]
    return Receipt(
        outcomes["accepted"],
        outcomes["duplicate"],
        outcomes["quarantined"],
        places[0] if places else None,
        places[-1] if places else None,
    )


# --- asking the product -----------------------------------------------------------------------------------------------


_EPISODE_ORDER = (
    *("account_type", "account", "currency", "cleared_sequence", "opened_sequence", "turnover", "entry_count"),
)
_VIEWS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "events": lambda row: row["sequence"],
    "entries": lambda row: (row["sequence"], row["entry_index"]),
    "open_accounts": lambda row: (row["account_type"], row["account"], row["currency"]),
    "episodes": lambda row: tuple(row[name] for name in _EPISODE_ORDER),
    "balances": lambda row: (row["account_type"], row["account"], row["currency"]),
    "segments": lambda row: row["number"],
}


def product_answers(project: Project, ask: Ask) -> Answers:
    """All that the product says at a cut: its answers, and the rows of every view."""
    cut = {"at": ask.at, "known_at": ask.known_at}
    status = project.status(**cut)
    still_open = project.open_accounts(**cut)
    lists = ", ".join(f"coalesce((SELECT list(v) FROM {view} AS v), []) AS {view}" for view in _VIEWS)
    views = project.query(f"SELECT {lists}", **cut)[0]
    answers = {
        "cut": status.cut,
        "status": status.account_types,
        "open": still_open.accounts,
        "open total": still_open.total,
        **{f"view {name}": sorted(views[name], key=order) for name, order in _VIEWS.items()},
    }
    if ask.account_type:
        answers["balance"] = project.balances(ask.account_type, **cut)[1]
    if ask.traced:
        found = project.trace(ask.traced, ask.steps, **cut)
        answers["trace"] = (found.events, found.accounts, found.truncated)
    return answers


SYSTEM_TIMES = ("opened_recorded_at", "last_recorded_at")


def stored_tables(ledger: Ledger, *, left_out: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The rows of the stored projections, sorted, without the columns `left_out`."""
    with ledger.open() as workspace, projecting.projections(workspace) as read:
        return {
            table: sorted(
                read.store.connection.execute(
                    f"SELECT COLUMNS(c -> NOT list_contains({list(left_out)}::VARCHAR[], c)) FROM {table}"
                ).fetchall()
            )
            for table in TABLES
        }


# --- asking the auditor -----------------------------------------------------------------------------------------------


def auditor_answers(audit: Audit, now: datetime, ask: Ask) -> Answers:
    """The same by plain loops."""
    cut = audit.cut(now, ask.at, ask.known_at)
    books = audit.books(cut)
    rows = books.open_accounts()
    answers = {
        "cut": cut,
        "status": books.status(),
        "open": rows,
        "open total": len(rows),
        "view events": [_event_row(audit, item) for item in books.events],
        "view entries": [_entry_row(books, entry) for entry in books.entries],
        "view open_accounts": sorted(
            (_open_row(books, item) for item in books.open_episodes()), key=_VIEWS["open_accounts"]
        ),
        "view episodes": sorted(
            (_episode_row(books, item) for item in books.cleared_episodes()), key=_VIEWS["episodes"]
        ),
        "view balances": sorted(_balance_rows(books), key=_VIEWS["balances"]),
        "view segments": _segment_rows(audit, cut.sequence),
    }
    if ask.account_type:
        answers["balance"] = books.account_balances(ask.account_type, {})
    if ask.traced:
        answers["trace"] = (*trace(books, ask.traced, ask.steps), "")
    return answers


def auditor_tables(audit: Audit) -> dict[str, list[Any]]:
    """The rows that the stored projections should have, by account, without the hash and in no order that matters."""
    ever = audit.books(audit.cut(datetime.max.replace(tzinfo=UTC)))
    episodes: dict[bool, list[Any]] = {True: [], False: []}
    hours: dict[tuple[str, str, int], list[int]] = {}
    for item in ever.episodes:
        later = item.entries[1:]
        episodes[item.balance != 0].append(
            (
                *(*item.account, item.balance, item.turnover, len(item.entries)),
                *(*_place(item.first), item.first.index, item.first.amount),
                *(later[0].recorded.sequence if later else None, min((it.effective_at for it in later), default=None)),
                *(*_place(item.last), *item.span),
            )
        )
        hour = (item.first.effective_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(hours=1)
        sums = hours.setdefault((item.account[0], item.account[2], hour), [0, 0, 0, 0, 0])
        more = [1, abs(item.balance), item.due_money, 0, 0] if item.balance else [0, 0, 0, 1, item.turnover]
        sums[:] = map(add, sums, more)
    reservoirs = []
    for account, balance in ever.balances.items():
        if not ever.is_clearing(account):
            own = [entry for entry in ever.entries if entry.account == account]
            times = [entry.effective_at for entry in own]
            reservoirs.append((*account, balance, len(own), own[-1].recorded.sequence, min(times), max(times)))
    return {
        "open_accounts": sorted(episodes[True]),
        "episodes": sorted(episodes[False]),
        "episode_hours": sorted((*key, *sums) for key, sums in hours.items()),
        "reservoirs": sorted(reservoirs),
        "reservoir_epochs": sorted((0, *row) for row in reservoirs),  # No world here is longer than an epoch.
        "event_sums": _event_sums(audit),
    }


def _event_sums(audit: Audit) -> list[Any]:
    """What events moved and how much was late, by type, currency and quarter of an hour of recording."""
    sums: dict[tuple[str, str, int], tuple[list[int], datetime]] = {}
    for item in audit.events:
        event_type = item.model.event_types[item.event.type]
        moved: dict[str, int] = {}
        for entry in post(item):
            moved[entry.account[2]] = moved.get(entry.account[2], 0) + abs(entry.amount)
        deadline = event_type.arrives_within
        lag = item.recorded_at - item.event.occurred_at
        late = deadline is not None and lag > timedelta(seconds=deadline.seconds)
        for currency, twice in moved.items():
            quarter = (item.recorded_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(minutes=15)
            row, span_to = sums.setdefault((event_type.name, currency, quarter), ([0] * 6, item.event.effective_at))
            pair = [1, twice // 2]  # Each move has two entries.
            row = [*map(add, row, [*pair, *(pair if deadline else [0, 0]), *(pair if late else [0, 0])])]
            sums[event_type.name, currency, quarter] = row, max(span_to, item.event.effective_at)
    return sorted((*key, 0, span_to, *row) for key, (row, span_to) in sums.items())  # All are of the first epoch.


def _place(entry: Entry) -> tuple[datetime, datetime, int]:
    return entry.effective_at, entry.recorded.recorded_at, entry.recorded.sequence


def _with_properties(books: Books, account: tuple[str, str, str], row: Mapping[str, Any]) -> dict[str, Any]:
    own = books.properties_of(account)
    names = {name for item in books.model.account_types.values() for name in item.properties}
    shown = {"account_type": account[0], "account": account_name(account[0], own), "currency": account[2]}
    owner = {"flow": books.model.account_types[account[0]].flow}
    return {**owner, **shown, **row, **{f"property_{name}": own.get(name) for name in names}}


def _event_row(audit: Audit, recorded: Recorded) -> dict[str, Any]:
    event, model = recorded.event, recorded.model
    models = [period.model for period in audit.periods]
    declared = {name for item in models for name in item.property_names}
    amounts = {name for item in models for name in item.amount_names}
    others = {name: value for name, value in event.properties.items() if name not in model.property_names}
    return {
        "sequence": recorded.sequence,
        "recorded_at": recorded.recorded_at,
        "flow": recorded.event_type.flow,
        "type": event.type,
        "id": event.id,
        "producer": recorded.event_type.producer,
        "effective_at": event.effective_at,
        "occurred_at": event.occurred_at,
        "model_version": model.version,
        **{f"property_{name}": event.properties.get(name) if name not in others else None for name in declared},
        **{f"amount_{name}": event.amounts.get(name, (None, None))[0] for name in amounts},
        **{f"currency_{name}": event.amounts.get(name, (None, None))[1] for name in amounts},
        "other_properties": others or None,
    }


def _entry_row(books: Books, entry: Entry) -> dict[str, Any]:
    recorded = entry.recorded
    row = {
        "sequence": recorded.sequence,
        "type": recorded.event.type,
        "id": recorded.event.id,
        "effective_at": entry.effective_at,
        "recorded_at": recorded.recorded_at,
        "entry_index": entry.index,
        "amount": entry.amount,
    }
    return _with_properties(books, entry.account, row)


def _open_row(books: Books, item: Episode) -> dict[str, Any]:
    row = {
        "balance": item.balance,
        **_opening(books, item),
        "last_effective_at": item.last.effective_at,
        "last_sequence": item.last.recorded.sequence,
        "state": books.state(item),
        "age_seconds": books.age_seconds(item),
    }
    return _with_properties(books, item.account, row)


def _episode_row(books: Books, item: Episode) -> dict[str, Any]:
    row = {
        **_opening(books, item),
        "cleared_at": item.last.effective_at,
        "cleared_recorded_at": item.last.recorded.recorded_at,
        "cleared_sequence": item.last.recorded.sequence,
    }
    return _with_properties(books, item.account, row)


def _opening(books: Books, item: Episode) -> dict[str, Any]:
    return {
        "owner": books.model.account_types[item.account[0]].owner,
        "turnover": item.turnover,
        "entry_count": len(item.entries),
        "opened_at": item.first.effective_at,
        "opened_recorded_at": item.first.recorded.recorded_at,
        "opened_sequence": item.first.recorded.sequence,
        "due_at": books.due_at(item),
    }


def _balance_rows(books: Books) -> Iterator[dict[str, Any]]:
    counts = {item.account: len(item.entries) for item in books.open_episodes()}
    for account, balance in books.balances.items():
        declared = books.model.account_types[account[0]]
        count = counts.get(account) if declared.kind == "clearing" else books.entry_counts[account]
        if count is not None:
            row = {"owner": declared.owner, "kind": declared.kind, "balance": balance, "entry_count": count}
            yield _with_properties(books, account, row)


def _segment_rows(audit: Audit, upto: int) -> list[dict[str, Any]]:
    rows = []
    for segment in audit.segments():
        if segment.events[0].sequence <= upto:
            entries = [entry for item in segment.events for entry in post(item)]
            moved: dict[str, int] = {}
            for entry in entries[1::2]:
                moved[entry.account[2]] = moved.get(entry.account[2], 0) + entry.amount
            times = [item.event.effective_at for item in segment.events]
            row = {
                "number": segment.number,
                "first_sequence": segment.events[0].sequence,
                "last_sequence": segment.events[-1].sequence,
                "event_count": len(segment.events),
                "entry_count": len(entries),
                "recorded_at": segment.recorded_at,
                "first_effective_at": min(times),
                "last_effective_at": max(times),
                "moved": {currency: str(money) for currency, money in moved.items()},
                "model_version": segment.events[0].model.version,
            }
            rows.append(row)
    return rows


# --- holding together -------------------------------------------------------------------------------------------------


def hold(family: str, found: Any, expected: Any) -> None:
    """Fail, naming the family of figures and where they differ first, unless both are the same."""
    if found != expected:
        raise AssertionError(_difference(family, found, expected))


def _difference(family: str, found: Any, expected: Any) -> str:
    where = family
    while isinstance(found, list | tuple) and isinstance(expected, list | tuple) and len(found) == len(expected):
        place = next(place for place, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
        where, found, expected = f"{where}[{place}]", found[place], expected[place]
    return f"{where}: the product says\n{found}\nand the auditor says\n{expected}"


def differences(found: Answers, expected: Answers) -> list[str]:
    """What to say of every family in which product and auditor differ.

    Shares are compared to twelve digits, all else exactly.
    """
    assert found.keys() == expected.keys()
    for row in expected["status"]:
        for share in ("clearing", "clearing_by_count"):
            if row[share] is not None:
                row[share] = pytest.approx(row[share], rel=1e-12, abs=1e-12)
    for row in found["view events"]:
        row["other_properties"] = _texts(row["other_properties"])
    for row in found["view segments"]:
        row["moved"] = json.loads(row["moved"])
        for name in row.keys() - _SEGMENT_FIGURES:
            del row[name]
    if "trace" in found:
        for event in found["trace"][0]:
            event["properties"] = {name: _text(value) for name, value in event["properties"].items()}
    wrong = [family for family in expected if found[family] != expected[family]]
    return [_difference(name, found[name], expected[name]) for name in wrong]


_SEGMENT_FIGURES = {
    *("number", "first_sequence", "last_sequence", "event_count", "entry_count", "recorded_at"),
    *("first_effective_at", "last_effective_at", "moved", "model_version"),
}
"""What the auditor, who has no files, can know of the view `segments`; `verify` proves the rest."""


def disagreements(both: Both, asks: Iterable[Ask]) -> Iterator[str]:
    """What product and auditor answer differently, question by question; each text begins with the family's name."""
    for ask in asks:
        with both.project() as project:
            found = product_answers(project, ask)
        yield from differences(found, auditor_answers(both.audit, both.ledger.clock.now, ask))


def agree(both: Both, *asks: Ask) -> None:
    """Fail, naming every family that differs, unless product and auditor give the same answers to every question."""
    wrong = list(disagreements(both, asks))
    if wrong:
        raise AssertionError("\n".join(wrong))


def _texts(stored: str | None) -> dict[str, str] | None:
    return None if stored is None else {name: _text(value) for name, value in json.loads(stored).items()}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def turning_points(audit: Audit) -> list[datetime]:
    """Effective times at which figures change: of events, and when windows run out; each with the instant before."""
    ever = audit.books(audit.cut(datetime.max.replace(tzinfo=UTC)))
    dues = [due for item in ever.episodes if (due := ever.due_at(item))]
    found = [*dues, *(item.event.effective_at for item in audit.events)]
    return sorted({*found, *(instant - timedelta(microseconds=1) for instant in found)})


def system_times(audit: Audit) -> list[datetime]:
    """Recorded times at which knowledge changes: segments, models, windows; each with the instants around it."""
    found = [item.recorded_at for item in audit.segments()]
    found += [item.accepted_at for item in audit.periods] + [item.accepted_at for item in audit.windows]
    return sorted({instant + timedelta(microseconds=step) for instant in found for step in (-1, 0, 1)})
