"""The auditor's metrics worked out by hand, and for each a canary: one thing is changed, and the figure with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from small_stories import (
    MONDAY,
    NOON,
    SALES,
    Story,
    audit_of,
    books_of,
    but,
    row_of,
    shop,
    story,
    told,
    without,
)

from clearwell.simulation.auditor import (
    ALL_TIME,
    Books,
    Completeness,
    ProducerRecord,
    aging_rows,
    clearing_rows,
    completeness_of,
    explained_rows,
    findings,
    lags,
    node_rows,
    period_of,
    quality_rows,
    quantile,
    timeliness_rows,
)

HOUR, DAY, TICK = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)


@pytest.fixture(scope="module")
def books() -> Books:
    """The story nine days later, when every window has run out."""
    return books_of(story())


RECORDS = [
    ProducerRecord("p1", NOON + HOUR, 120, "EUR"),
    ProducerRecord("p2", NOON + 2 * DAY, 200, "EUR"),
    ProducerRecord("p9", NOON + 2 * DAY, 70, "EUR"),
]
"""What the bank says of payments: one as it came, one of another amount, one that never came."""


def paid(books: Books, records: list[ProducerRecord] = RECORDS) -> Completeness:
    """The payments held against records."""
    return completeness_of(books, "payment", records)


# --- the figures ------------------------------------------------------------------------------------------------------


def test_timeliness_by_money_and_by_count(books: Books) -> None:
    """Of three sales one of 200 out of 400 came late; a lag of just the deadline is in time; parcels have none."""
    sales, parcels = {"flow": "sales", "owner": "shop-team"}, {"flow": "parcels", "owner": "parcel-team"}
    nothing_late = {"late_count": 0, "late_money": 0}
    assert timeliness_rows(books) == [
        {"event_type": "parcel.packed", **parcels, "producer": "warehouse", "currency": "EUR", "event_count": 1}
        | {"money": 30, "judged_count": 0, "judged_money": 0, **nothing_late}
        | {"timeliness": None, "timeliness_by_count": None},
        {"event_type": "payment", **sales, "producer": "bank", "currency": "EUR", "event_count": 2}
        | {"money": 270, "judged_count": 2, "judged_money": 270, **nothing_late}
        | {"timeliness": 1, "timeliness_by_count": 1},
        {"event_type": "sale", **sales, "producer": "tills", "currency": "EUR", "event_count": 3}
        | {"money": 400, "judged_count": 3, "judged_money": 400, "late_count": 1, "late_money": 200}
        | {"timeliness": Fraction(1, 2), "timeliness_by_count": Fraction(2, 3)},
    ]


def test_lags_and_their_quantiles(books: Books) -> None:
    """Lags are sorted by event type; a quantile is one of them, the least that covers so many percent."""
    found = lags(books)["sale"]
    assert found == [timedelta(seconds=seconds) for seconds in (10, 60, 120)]
    assert [quantile(found, percent) for percent in (0, 33, 34, 66, 67, 100)] == [
        *[found[0]] * 2,
        *[found[1]] * 2,
        *[found[2]] * 2,
    ]


def test_clearing_and_cleared_on_time(books: Books) -> None:
    """One order of 120 cleared within its day, 50 of 200 and all of 80 did not; the parcel has an owner of its own."""
    assert clearing_rows(books) == [
        {"flow": "parcels", "account_type": "unshipped", "owner": "night-shift", "currency": "EUR"}
        | {"due_count": 1, "due_money": 30, "overdue_count": 1, "overdue_money": 30}
        | {"on_time_count": 0, "on_time_money": 0, "clearing": 0, "clearing_by_count": 0}
        | {"cleared_on_time": 0, "cleared_on_time_by_count": 0},
        {"flow": "sales", "account_type": "unpaid", "owner": "shop-team", "currency": "EUR"}
        | {"due_count": 3, "due_money": 400, "overdue_count": 2, "overdue_money": 130}
        | {"on_time_count": 1, "on_time_money": 120, "clearing": Fraction(27, 40)}
        | {"clearing_by_count": Fraction(1, 3)}
        | {"cleared_on_time": Fraction(3, 10), "cleared_on_time_by_count": Fraction(1, 3)},
    ]


@pytest.mark.parametrize(("after", "on_time"), [(DAY, 1), (DAY + TICK, 0)])
def test_the_due_instant_is_on_time(after: timedelta, on_time: int) -> None:
    """An account that clears at the very instant at which it is due is on time; later it has cleared, but late."""
    late_payment = but(story(), "p1", effective_at=(NOON + after).isoformat())
    row = row_of(clearing_rows(books_of(late_payment)), account_type="unpaid")
    assert (row["on_time_count"], row["overdue_count"], row["overdue_money"]) == (on_time, 2, 130)


def test_what_is_not_due_is_not_judged() -> None:
    """Within the day nothing is due: the row is there, its shares are not."""
    row = row_of(clearing_rows(books_of(story(), NOON + DAY - TICK)), account_type="unpaid")
    assert (row["due_count"], row["due_money"], row["clearing"], row["cleared_on_time"]) == (0, 0, None, None)


@pytest.mark.parametrize(
    ("past", "bucket"),
    [
        (timedelta(0), "1 h"),
        (HOUR, "1 h"),
        (HOUR + TICK, "1 d"),
        (DAY + TICK, "7 d"),
        (7 * DAY + TICK, "30 d"),
        (30 * DAY + TICK, "90 d"),
        (90 * DAY, "90 d"),
        (90 * DAY + TICK, "more"),
    ],
)
def test_aging_by_buckets(past: timedelta, bucket: str) -> None:
    """An overdue account is in the first bucket whose limit it has not passed."""
    unpaid = without(without(story(), "k3"), "p2")
    assert aging_rows(books_of(unpaid, NOON + DAY + past)) == [
        {"account_type": "unpaid", "currency": "EUR", "past_due": bucket, "open_count": 2, "open_money": 280}
    ]


def test_aging_by_own_limits(books: Books) -> None:
    """Buckets end where the asker says, and what is beyond the last is told too."""
    rows = aging_rows(books, limits=[timedelta(minutes=90), timedelta(hours=190)])
    assert [(row["account_type"], row["past_due"], row["open_money"]) for row in rows] == [
        ("unpaid", "190 h", 130),
        ("unshipped", "more", 30),
    ]


def test_completeness_of_records(books: Books) -> None:
    """Of 390 on record 120 came as it was, 70 not at all, and 50 less than told; nothing came that is not on record."""
    assert paid(books).rows() == [
        {"event_type": "payment", "flow": "sales", "owner": "shop-team", "producer": "bank", "currency": "EUR"}
        | {"record_count": 3, "record_money": 390, "matched_count": 1, "matched_money": 120}
        | {"missing_count": 1, "missing_money": 70, "missing_estimated": False}
        | {"different_count": 1, "different_money": 50, "unexpected_count": 0, "unexpected_money": 0}
        | {"completeness": Fraction(4, 13), "completeness_by_count": Fraction(1, 3)}
    ]
    (row,) = paid(books, RECORDS[:1]).rows()
    assert (row["unexpected_count"], row["unexpected_money"], row["completeness"]) == (1, 150, 1)


def test_records_without_amounts_are_estimated(books: Books) -> None:
    """A record that names no amount matches by id alone, and is missing with the usual amount, marked so."""
    (row,) = paid(books, [ProducerRecord(name, NOON) for name in ("p1", "p2", "p8", "p9")]).rows()
    assert (row["matched_count"], row["matched_money"], row["different_count"]) == (2, 270, 0)
    assert (row["missing_count"], row["missing_money"], row["missing_estimated"]) == (2, 2 * 135, True)


def test_nothing_is_usual_where_nothing_came(books: Books) -> None:
    """Where no event of the type ever came, a missing record without an amount has no currency and no price."""
    silent = books_of(without(story(), "k3"))
    held = completeness_of(silent, "parcel.packed", [ProducerRecord("k3", NOON)])
    (row,) = held.rows()
    assert (row["currency"], row["missing_count"], row["missing_money"]) == (None, 1, 0)
    assert not [item for item in findings(silent, ALL_TIME, [held]) if item.rule == "missing"]


def test_an_event_that_goes_on_the_books_later_is_there() -> None:
    """A cut bounds the events that are known, and no records; an event of a later effective time matches its record."""
    audit = audit_of(but(story(), "p1", effective_at=(NOON + 5 * DAY).isoformat()))
    (row,) = paid(audit.books(audit.cut(NOON, NOON + DAY)), RECORDS[:1]).rows()
    assert (row["missing_count"], row["matched_count"]) == (0, 1)


def test_the_tree_of_scores(books: Books) -> None:
    """Uncleared 130 and 30, late 200, missing 70: each node is the sum of what is below it, to the cent."""
    rows = node_rows(books, ALL_TIME, [paid(books)])
    assert [tuple(row.values()) for row in rows] == [
        ("company", "company", "", "EUR", 770, 160, 200, 70, False, Fraction(340, 770)),
        ("team", "parcel-team", "company", "EUR", 30, 30, 0, 0, False, 0),
        ("team", "shop-team", "company", "EUR", 740, 130, 200, 70, False, Fraction(340, 740)),
        ("flow", "parcels", "parcel-team", "EUR", 30, 30, 0, 0, False, 0),
        ("flow", "sales", "shop-team", "EUR", 740, 130, 200, 70, False, Fraction(340, 740)),
        ("account_type", "unpaid", "sales", "EUR", 400, 130, 0, 0, False, Fraction(27, 40)),
        ("account_type", "unshipped", "parcels", "EUR", 30, 30, 0, 0, False, 0),
    ]
    money = ["total_money", "uncleared_money", "late_money", "missing_money"]
    assert list(rows[0]) == ["node", "name", "parent", "currency", *money, "missing_estimated", "score"]


def test_an_estimate_marks_all_that_it_is_added_to(books: Books) -> None:
    """Where a missing amount is estimated, its flow, team and company say so, and no other."""
    rows = node_rows(books, ALL_TIME, [paid(books, [ProducerRecord("p9", NOON)])])
    assert [row["name"] for row in rows if row["missing_estimated"]] == ["company", "shop-team", "sales"]


def test_periods_split_what_is_recorded_and_what_is_opened(books: Books) -> None:
    """Monday has its sales and orders; Tuesday only a stuck parcel, which was told on Wednesday: its score is zero."""
    found = {}
    for day in range(3):
        period = period_of("day", MONDAY + day * DAY, "UTC")
        for row in node_rows(books, period):
            if row["node"] == "flow":
                found[day, row["name"]] = (row["total_money"], row["uncleared_money"], row["late_money"], row["score"])
    assert found == {
        (0, "sales"): (520, 130, 200, Fraction(190, 520)),
        (1, "parcels"): (0, 30, 0, 0),
        (2, "parcels"): (30, 0, 0, 1),
        (2, "sales"): (150, 0, 0, 1),
    }


def test_explained_money(books: Books) -> None:
    """With a cause for the order and the sale of 250 in all, what is left unexplained is 80 of sales and a parcel."""
    causes = {"unpaid{order=two, branch=north}": "bank outage", "tills/s2": "slow till", "nobody/x": "nothing"}
    rows = explained_rows(books, causes)
    assert row_of(rows, name="sales") == {
        "node": "flow",
        "name": "sales",
        "parent": "shop-team",
        "currency": "EUR",
        "total_money": 670,
        "lost_money": 330,
        "attributed_money": 250,
        "explained": Fraction(59, 67),
    }
    assert row_of(rows, name="company")["explained"] == Fraction(59, 70)
    assert row_of(explained_rows(books, {}), name="sales")["explained"] == Fraction(34, 67)


def test_findings_say_whose_and_how_much(books: Books) -> None:
    """Every loss of a score is a finding with its subject."""
    found = [(item.rule, item.subject, item.flow, item.money) for item in findings(books, ALL_TIME, [paid(books)])]
    assert sorted(found) == [
        ("late", "tills/s2", "sales", 200),
        ("missing", "bank/p9", "sales", 70),
        ("uncleared", "unpaid{order=three, branch=south}", "sales", 80),
        ("uncleared", "unpaid{order=two, branch=north}", "sales", 50),
        ("uncleared", "unshipped{order=three}", "parcels", 30),
    ]


def test_cross_sections_by_property_owner_and_day(books: Books) -> None:
    """Any marks tell rows apart: an event's or an account's property, the team, the producer, and the day."""
    by_branch = timeliness_rows(books, by=["property_branch", "currency"])
    assert [(row["property_branch"], row["money"], row["late_money"]) for row in by_branch] == [
        (None, 30, 0),
        ("north", 590, 200),
        ("south", 80, 0),
    ]
    branches = clearing_rows(books, by=["property_branch", "currency"])
    assert [(row["property_branch"], row["overdue_money"]) for row in branches] == [
        (None, 30),
        ("north", 50),
        ("south", 80),
    ]
    days = timeliness_rows(books, by=["owner", "day", "currency"])
    assert [(row["owner"], row["day"], row["money"]) for row in days] == [
        ("parcel-team", MONDAY + 2 * DAY, 30),
        ("shop-team", MONDAY, 520),
        ("shop-team", MONDAY + 2 * DAY, 150),
    ]
    with pytest.raises(ValueError, match="currency"):
        timeliness_rows(books, by=["owner"])


def test_an_event_counts_in_each_currency_that_it_moved() -> None:
    """A sale of two currencies counts in both; one that moved nothing is in no row."""
    records = [told("s1", "sale", NOON, HOUR, price=5, tax=0, order="one", branch="north")]
    (two := records[0][0])["amounts"] = {
        "price": {"value": 5, "currency": "EUR"},
        "tax": {"value": 3, "currency": "USD"},
    }
    assert two["id"] == "s1"
    records.append(told("s2", "sale", NOON, HOUR, price=0, tax=0, order="two", branch="north"))
    rows = timeliness_rows(books_of(records))
    assert [(row["currency"], row["late_count"], row["late_money"], row["timeliness"]) for row in rows] == [
        ("EUR", 1, 5, 0),
        ("USD", 1, 3, 0),
    ]


def test_an_event_is_judged_by_the_model_it_was_posted_under() -> None:
    """A deadline that is changed later does not make an old event come in time; the row has the new owner."""
    audit = audit_of(story())
    later = shop(SALES.replace("arrives_within: 1 minute", "arrives_within: 1 day").replace("shop-team", "new-team"))
    before = audit.books(audit.cut(MONDAY + 9 * DAY))
    audit.put_in_force(later, "UTC", MONDAY + 9 * DAY)
    after = audit.books(audit.cut(MONDAY + 9 * DAY))
    for books, owner in ((before, "shop-team"), (after, "new-team")):
        assert row_of(timeliness_rows(books), event_type="sale", owner=owner)["late_money"] == 200
        assert row_of(node_rows(books), node="flow", name="sales")["parent"] == owner


def test_an_event_type_that_is_gone_is_told_as_it_was_last() -> None:
    """An event type that the model of the cut no longer has keeps the flow and team that it had last."""
    audit = audit_of(without(story(), "k3"))
    refund = "  refund:\n    producer: tills\n    moves: [{amount: back, from: cash, to: customers}]\n"
    audit.put_in_force(shop(SALES + refund), "UTC", MONDAY + 3 * DAY)
    audit.record([told("r1", "refund", MONDAY + 3 * DAY, HOUR, back=7)[0]], MONDAY + 4 * DAY)
    audit.put_in_force(shop(), "UTC", MONDAY + 5 * DAY)
    row = row_of(timeliness_rows(audit.books(audit.cut(MONDAY + 9 * DAY))), event_type="refund")
    assert (row["flow"], row["owner"], row["producer"], row["money"]) == ("sales", "shop-team", "tills", 7)


def test_the_report_has_every_family(books: Books) -> None:
    """A report is the rows of all families in one period."""
    monday = period_of("day", NOON, "UTC")
    assert quality_rows(books, monday) == {
        "nodes": node_rows(books, monday),
        "timeliness": timeliness_rows(books, monday),
        "clearing": clearing_rows(books, monday),
        "aging": aging_rows(books, monday),
    }


# --- canaries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Canary:
    """A changed story, and the figure that has to change with it: which one, and to what."""

    changed: Story
    rows: Callable[[Books], list[dict[str, Any]]]
    marks: dict[str, Any]
    figure: str
    becomes: Any


SALE, UNPAID, FLOW = {"event_type": "sale"}, {"account_type": "unpaid"}, {"node": "flow", "name": "sales"}
AGED = {**UNPAID, "past_due": "30 d"}


def _completeness_rows(books: Books) -> list[dict[str, Any]]:
    return paid(books).rows()


def _nodes_with_missing(books: Books) -> list[dict[str, Any]]:
    return node_rows(books, ALL_TIME, [paid(books)])


def _explained(books: Books) -> list[dict[str, Any]]:
    return explained_rows(books, {"unpaid{order=two, branch=north}": "bank outage"})


LATER = timedelta(seconds=60) + TICK
CANARIES = {
    "timeliness: one more comes a microsecond late": Canary(
        but(story(), "s3", lag=LATER), timeliness_rows, SALE, "timeliness", Fraction(120, 400)
    ),
    "timeliness by count: one more comes late": Canary(
        but(story(), "s3", lag=LATER), timeliness_rows, SALE, "timeliness_by_count", Fraction(1, 3)
    ),
    "clearing: one cent more is left": Canary(
        but(story(), "p2", paid=149), clearing_rows, UNPAID, "clearing", 1 - Fraction(131, 400)
    ),
    "clearing by count: one more clears": Canary(
        but(story(), "p2", paid=200), clearing_rows, UNPAID, "clearing_by_count", Fraction(2, 3)
    ),
    "cleared on time: the payment is effective late": Canary(
        but(story(), "p1", effective_at=(NOON + 2 * DAY).isoformat()), clearing_rows, UNPAID, "cleared_on_time", 0
    ),
    "aging: one cent more is left": Canary(but(story(), "p2", paid=149), aging_rows, AGED, "open_money", 131),
    "completeness: the amount is right": Canary(
        but(story(), "p2", paid=200), _completeness_rows, {}, "completeness", Fraction(320, 390)
    ),
    "completeness: one more is missing": Canary(without(story(), "p1"), _completeness_rows, {}, "missing_money", 190),
    "score: uncleared grows by a cent": Canary(
        but(story(), "s3", price=81), node_rows, FLOW, "score", 1 - Fraction(331, 671)
    ),
    "score: a late event is in time": Canary(
        but(story(), "s2", lag=TICK), node_rows, FLOW, "score", 1 - Fraction(130, 670)
    ),
    "score: one more is missing": Canary(
        without(story(), "p1"), _nodes_with_missing, FLOW, "score", 1 - Fraction(250 + 200 + 190, 550 + 190)
    ),
    "explained: what has a cause is less": Canary(
        but(story(), "p2", paid=199), _explained, FLOW, "explained", 1 - Fraction(280, 719)
    ),
}


@pytest.mark.parametrize("name", CANARIES)
def test_a_changed_event_changes_the_figure(books: Books, name: str) -> None:
    """One thing is other in the story, and the figure is other, by just so much."""
    canary = CANARIES[name]
    before = row_of(canary.rows(books), **canary.marks)[canary.figure]
    after = row_of(canary.rows(books_of(canary.changed)), **canary.marks)[canary.figure]
    assert before != after == canary.becomes
