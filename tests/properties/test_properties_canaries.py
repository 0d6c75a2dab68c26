"""The comparison with the auditor can fail: what is planted in the product is found, under its family's name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from agreement import Ask, Delivery, History, auditor_tables, disagreements, hold, stored_tables, tell
from clearwell.catalog.incidents import RULES
from clearwell.ingest.duplicates import Deduplicated
from clearwell.ingest.identities import identity_hash
from clearwell.ledger.fold import CODED_SCHEMA, Coded, episodes_of
from clearwell.ledger.posting import Posted
from clearwell.ledger.rejections import no_rejections
from clearwell.simulation.auditor import Finding
from planting import Plant, in_text, replace_with
from quality_agreement import Records, hold_explained

if TYPE_CHECKING:
    from conftest import NewLedger

FLOW = """{flow: f, owner: o, accounts: {pool: {kind: reservoir},
  c: {kind: clearing, properties: [p], clears_within: 10 minutes}},
events: {fill: {producer: a, moves: [{amount: x, from: pool, to: c}]},
  drain: {producer: a, moves: [{amount: x, from: c, to: pool}]}}}"""

DAY = datetime(2026, 3, 5, tzinfo=UTC)


def _record(name: str, kind: str, minute: int, account: str, amount: int) -> dict[str, Any]:
    at = (DAY + timedelta(minutes=minute)).isoformat()
    told = {"type": kind, "id": name, "effective_at": at, "occurred_at": at, "properties": {"p": account}}
    return {**told, "currency": "USD", "amounts": {"x": amount}}


STORY = History(
    FLOW,
    "UTC",
    500_000,
    (
        Delivery(
            (
                _record("e1", "fill", 0, "cleared", 5),
                _record("e2", "fill", 1, "open", 7),
                _record("e3", "drain", 2, "cleared", 5),
                _record("e1", "fill", 0, "cleared", 5),
                _record("e4", "drain", 9, "early", 3),
            )
        ),
        Delivery(
            (
                _record("e5", "fill", 1, "early", 3),
                _record("e2", "fill", 1, "open", 8),
                _record("e6", "drain", 3, "open", 1),
                _record("e7", "fill", 4, "other", 2),
            )
        ),
    ),
)
"""An account that cleared, one that is open, one whose drain came first, a duplicate and a conflict."""

DUE = DAY + timedelta(minutes=11)
"""The instant at which the account `open` becomes overdue."""

ASKS = (
    Ask(DUE, account_type="pool", traced={"p": "open"}, steps=2),
    Ask(DUE - timedelta(microseconds=1)),
    Ask(DAY + timedelta(minutes=1), 5, "pool"),
)


def wrong(new_ledger: NewLedger) -> Iterator[str]:
    """What differs, each told by its family: while the story is told, in the answers, and in the stored rows."""
    try:
        both = tell(new_ledger, STORY)
    except AssertionError as error:
        yield str(error)
        return
    yield from disagreements(both, ASKS)
    try:
        hold("stored tables", stored_tables(both.ledger, left_out=["account_hash"]), auditor_tables(both.audit))
    except AssertionError as error:
        yield str(error)


def test_the_story_as_it_is_agrees(new_ledger: NewLedger) -> None:
    """With nothing planted, product and auditor agree; so what follows fails for what is planted alone."""
    assert list(wrong(new_ledger)) == []


def _post_without_one(sound: Any) -> Any:
    def post(*arguments: Any) -> Posted:
        posted = sound(*arguments)
        return replace(posted, reservoir=posted.reservoir.sort("sequence").slice(1))

    return post


def _fold_with(**changed: pl.Expr) -> Plant:
    def plant(sound: Any) -> Any:
        def fold(before: pl.DataFrame, entries: pl.DataFrame) -> Coded:
            folded = sound(before, entries)
            several = [folded.several, episodes_of(folded.single)]
            cleared, *several = (
                frame.select(pl.col(name).cast(dtype) for name, dtype in CODED_SCHEMA.items())
                .with_columns(**changed)
                .cast(dict(CODED_SCHEMA))
                for frame in (folded.cleared, *several)
            )
            return Coded(cleared, folded.single.clear(), pl.concat(several))

        return fold

    return plant


def _fold_forgetting(sound: Any) -> Any:
    return lambda before, entries: sound(before.clear(), entries)


def _fold_by_effective_time(sound: Any) -> Any:
    by_time = pl.col("effective_at").rank("ordinal").cast(pl.Int64)
    return lambda before, entries: sound(before, entries.with_columns(sequence=by_time))


def _all_fresh(_sound: Any) -> Any:
    return lambda events, *_: Deduplicated(
        events.with_columns(identity_hash()), events["position"].clear(), no_rejections()
    )


def _conflicts_unseen(sound: Any) -> Any:
    def deduplicate(*arguments: Any) -> Deduplicated:
        found = sound(*arguments)
        return replace(found, duplicates=found.duplicates + found.conflicts.height, conflicts=no_rejections())

    return deduplicate


def _due_by(microseconds: int) -> Plant:
    return lambda sound: lambda *arguments: f"({sound(*arguments)} + INTERVAL '{microseconds} microseconds')"


PLANTED: dict[str, tuple[str, str, Plant]] = {
    "balance: one entry is dropped": ("balance", "clearwell.ingest.door.post", _post_without_one),
    "balance: a sign is flipped": (
        "balance",
        "clearwell.projections.store.fold_reservoirs_coded",
        lambda sound: lambda entries: sound(entries.with_columns(amount=-pl.col("amount"))),
    ),
    "balance: what lies beyond a past cut counts": (
        "balance",
        "clearwell.projections.cuts._RESERVOIRS",
        lambda sound: sound.replace("-balance, -entry_count", "balance - balance, entry_count - entry_count"),
    ),
    "episode: turnover is off by one": (
        "view episodes",
        "clearwell.projections.store.fold_coded",
        _fold_with(turnover=pl.col("turnover") + 1),
    ),
    "episode: an entry is miscounted": (
        "view open_accounts",
        "clearwell.projections.store.fold_coded",
        _fold_with(entry_count=pl.col("entry_count") + 1),
    ),
    "episode: the opening is its last entry's": (
        "view episodes",
        "clearwell.projections.store.fold_coded",
        _fold_with(opened_effective_at=pl.col("last_effective_at")),
    ),
    "episode: what was open before a batch is forgotten": (
        "open",
        "clearwell.projections.store.fold_coded",
        _fold_forgetting,
    ),
    "episode: the span ends a microsecond late": (
        "stored tables",
        "clearwell.projections.store.fold_coded",
        _fold_with(span_to=pl.col("span_to") + timedelta(microseconds=1)),
    ),
    "order: entries are folded by effective time": (
        "view episodes",
        "clearwell.projections.store.fold_coded",
        _fold_by_effective_time,
    ),
    "order: open accounts are listed the youngest first": (
        "open",
        "clearwell.application.questions.SORTS",
        lambda sound: {**sound, "age": "opened_at DESC"},
    ),
    "state: a window runs out a microsecond late": ("open", "clearwell.quality.clearing._due_at", _due_by(1)),
    "state: a window runs out a microsecond early": ("open", "clearwell.quality.clearing._due_at", _due_by(-1)),
    "state: the instant at which a window runs out is in it": (
        "status",
        "clearwell.quality.clearing._one_by_one",
        in_text("opened_effective_at <= $effective_at", "opened_effective_at < $effective_at"),
    ),
    "status: open accounts are miscounted": (
        "status",
        "clearwell.quality.clearing.status",
        in_text("sum(open_count) AS open_count", "sum(open_count) + 1 AS open_count"),
    ),
    "status: cleared money is not due": (
        "status",
        "clearwell.quality.clearing.status",
        lambda sound: (
            lambda *arguments: (
                sound(*arguments)
                .replace("open_due_money + cleared_money", "open_due_money")
                .replace("sum(turnover) FILTER", "sum(turnover - turnover) FILTER")
            )
        ),
    ),
    "duplicate: it is accepted once more": ("duplicates", "clearwell.ingest.door.deduplicate", _all_fresh),
    "duplicate: a conflict is taken for one": ("duplicates", "clearwell.ingest.door.deduplicate", _conflicts_unseen),
    "cut: it ends one event early": (
        "cut",
        "clearwell.application.cutting.resolve_cut",
        lambda sound: lambda *arguments: replace(cut := sound(*arguments), sequence=cut.sequence - 1),
    ),
    "entries: the view has them the other way round": (
        "view entries",
        "clearwell.application.querying.entries_query",
        in_text('-"amount_x"', '"amount_x"'),
    ),
    "trace: it lacks an event": (
        "trace",
        "clearwell.application.tracing._Finder.events",
        lambda sound: lambda *arguments, **named: sound(*arguments, **named).slice(1),
    ),
}
"""What is planted: the family in which it must be found, what is replaced, and by what."""


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_is_found(new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    """One discrepancy in the product fails the comparison, and the failure names the family of figures."""
    family, target, plant = PLANTED[planted]
    replace_with(monkeypatch, target, plant)
    assert any(found.startswith(family) for found in wrong(new_ledger))


def test_rows_that_depend_on_batches_are_found(new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that forgets what was open before gives other rows one by one than all at once."""
    replace_with(monkeypatch, "clearwell.projections.store.fold_coded", _fold_forgetting)
    told = (tell(new_ledger, replace(STORY, batch_events=size)) for size in (1, 500_000))
    rows = [json.dumps(stored_tables(both.ledger, left_out=["account_hash"]), default=str) for both in told]
    assert rows[0] != rows[1]


EXPLAINED: dict[str, tuple[str, Plant]] = {
    "overdue money of attributed accounts is off by one": (
        "clearwell.quality.clearing.overdue_by_quarter",
        in_text("sum(abs(balance))", "sum(abs(balance) + 1)"),
    ),
    "a name is read back as another account": (
        "clearwell.application.explaining.accounts_named",
        lambda sound: lambda *arguments: sound(*arguments).with_columns(account=pl.lit("other")),
    ),
    "late money is forgotten": (
        "clearwell.application.explaining._late",
        lambda sound: lambda *arguments: sound(*arguments).clear(),
    ),
    "late money is that of another quarter": (
        "clearwell.application.explaining._late",
        lambda sound: lambda *arguments: sound(*arguments).with_columns(pl.col("quarter") - 4 * 24 * 400),
    ),
    "missing money counts twice": (
        "clearwell.application.explaining.attributed_missing",
        lambda sound: lambda *arguments: sound(*arguments) * 2,
    ),
    "what is attributed does not reach the flow": (
        "clearwell.quality.score._ALL_SUMS",
        lambda sound: sound[:-1],
    ),
}
"""What is planted in what the product says is explained: what is replaced, and by what."""


def _explained(new_ledger: NewLedger) -> None:
    """Hold what is explained together, with a cause for every second finding of each rule."""
    flow = STORY.flow.replace("producer: a, moves", "producer: a, arrives_within: 1 minute, moves")
    both = tell(new_ledger, replace(STORY, flow=flow))
    rules = set()

    def choose(found: Sequence[Finding]) -> list[Finding]:
        chosen = [item for rule in RULES for item in [own for own in found if own.rule == rule][::2]]
        rules.update(item.rule for item in chosen)
        return chosen

    hold_explained(both, Ask(), "month", choose, Records(there=1, gone=5))
    assert rules == set(RULES)


def test_what_is_explained_agrees_as_it_is(new_ledger: NewLedger) -> None:
    """With nothing planted, accounts, events and records that have a cause explain the same on both sides."""
    _explained(new_ledger)


@pytest.mark.parametrize("planted", EXPLAINED)
def test_what_is_planted_in_the_explained_is_found(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """One discrepancy in what is attributed fails the comparison."""
    replace_with(monkeypatch, *EXPLAINED[planted])
    with pytest.raises(AssertionError):
        _explained(new_ledger)
