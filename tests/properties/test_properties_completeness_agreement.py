"""Product and auditor say the same of a producer's records in a random world."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import assume, event, given
from hypothesis import strategies as st
from worlds import asks, examples, histories

from agreement import Both, History, tell
from clearwell.simulation.auditor import ProducerRecord, Recorded, completeness_of
from clearwell.simulation.auditor.completeness import Claim
from clearwell.simulation.auditor.periods import ALL_TIME, period_of
from clearwell.values import periods
from producer_records import Record, write_sqlite

if TYPE_CHECKING:
    from conftest import NewLedger

_START = datetime(2026, 1, 1, tzinfo=UTC)
_HUGE = 2**60


@given(history=histories(), data=st.data())
@examples(15)
def test_completeness_is_the_auditor_s(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """At any cut and of any period: the ids of each kind and their money, also where records have no amounts."""
    both = tell(new_ledger, history)
    ask = data.draw(asks(both.audit), label="ask")
    with both.project() as project:
        books = both.audit.books(project.status(ask.at, ask.known_at).cut)
    names = sorted(books.model.event_types)
    told_of = [item.event.type for item in books.known if item.event.type in names]
    name = data.draw(st.sampled_from(told_of or names), label="event type")
    own = [item for item in books.known if item.event.type == name]
    amount = _only_amount(both, name) if data.draw(st.booleans(), label="amounts") else ""
    records = data.draw(producer_records(own, amount), label="records")
    kind = data.draw(st.sampled_from(["all", "day", "week", "month"]), label="kind")
    assume(own or records)
    times = [item.event.occurred_at for item in own] or [item.time for item in records]
    at = data.draw(st.sampled_from(times), label="a time of the period")
    query = "SELECT id, amount, currency, time FROM charges" if amount else "SELECT id, time FROM charges"
    source = {"event_type": name, **write_sqlite(both.ledger.folder, records), "query": query}
    if amount:
        source["amount_of"] = amount
    zone = both.audit.periods[-1].time_zone
    both.ledger.write_settings(time_zone=zone, batch_events=both.batch_events, producer_sources={"own": source})
    named = "" if kind == "all" else periods.period_of(kind, at, books.time_zone).name
    with both.project() as project:
        (found,) = project.completeness(period=named, at=books.cut.effective_at, known_at=ask.known_at)
        rows = project.differences(found)
    period = ALL_TIME if kind == "all" else period_of(kind, at, books.time_zone)
    told = [
        ProducerRecord(item.id or "", item.time or _START, *((item.amount, item.currency) if amount else ()))
        for item in records
    ]
    claims = completeness_of(books, name, told, period).claims
    event(f"{kind}, {'amounts' if amount else 'ids'}, {min(2, len(rows))} differences")
    assert {(row["kind"], row["id"]) for row in rows} == {(_kind(item), item.id) for item in claims if _kind(item)}
    for what in ("missing", "unexpected", "different"):
        assert getattr(found, f"{what}_count") == len({item.id for item in claims if _kind(item) == what})
        if amount or what == "missing":
            product = {currency: part["money"] for currency, part in getattr(found, f"{what}_money").items()}
            assert +Counter(product) == _money(claims, what)
    assert found.estimated == any(item.estimated or item.currency is None for item in claims if item.is_missing)


@st.composite
def producer_records(draw: st.DrawFn, events: list[Recorded], amount: str) -> list[Record]:
    """Records that mostly are those of the events: some left out, of another amount or time, and some made up."""
    seconds = st.integers(-100 * 86_400, 100 * 86_400)
    found = []
    for item in events:
        value, currency = item.event.amounts[amount] if amount else (0, "USD")
        at = (item.event.occurred_at - _START) // timedelta(seconds=1)
        match draw(st.integers(0, 6)):
            case 0 | 1:
                continue
            case 2:
                value += (-1 if value < 0 else 1) * (-1 if abs(value) > _HUGE else 1)
            case 3:
                at = draw(seconds)
            case _:
                pass
        found.append(Record(item.event.id, value, currency, at))
    for number in range(draw(st.integers(0, 3))):
        made_up = Record(
            f"lost {number}", draw(st.integers(-9, 9)), draw(st.sampled_from(["USD", "EUR"])), draw(seconds)
        )
        found.append(made_up)
    return found


def _only_amount(both: Both, name: str) -> str:
    """The amount that is all that an event of the type moves, by every model that has it; empty where there is none."""
    types = [period.model.event_types.get(name) for period in both.audit.periods]
    moved = {tuple(move.amount for move in item.moves) for item in types if item is not None}
    (first, *others) = moved
    return first[0] if not others and len(first) == 1 else ""


def _kind(claim: Claim) -> str:
    kinds = {"missing": claim.is_missing, "unexpected": claim.is_unexpected, "different": claim.is_different}
    return next((kind for kind, holds in kinds.items() if holds), "")


def _money(claims: tuple[Claim, ...], kind: str) -> Counter[str]:
    """By currency the money of the claims of a kind, without sign; none where it is zero."""
    found: Counter[str] = Counter()
    for item in claims:
        if _kind(item) == kind and item.currency is not None:
            found[item.currency] += abs((item.expected or 0) - (item.found or 0))
    return +found
