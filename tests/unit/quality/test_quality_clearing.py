"""The clearing figures of small worlds that can be checked with a pencil."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.application import questions
from clearwell.application.cutting import CutRequest
from clearwell.application.questions import OpenFilter
from clearwell.errors import UsageError

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]
OPENED = "2026-01-02T03:04:05Z"
DUE = "2026-01-02T03:14:05Z"


def charges(ledger: Ledger, at: str = "") -> dict[str, Any]:
    rows = [row for row in ledger.status(at).account_types if row["account_type"] == "charge_undisbursed"]
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize(
    ("at", "state", "age"),
    [
        ("2026-01-02T03:14:04.999999Z", "in_flight", 599),
        (DUE, "overdue", 600),
        ("2026-01-03T03:04:05Z", "overdue", 86_400),
    ],
)
def test_an_account_is_overdue_from_its_due_instant_on(
    ledger: Ledger, creation: Make, at: str, state: str, age: int
) -> None:
    """The window ends exactly when it has passed, and the age counts whole seconds that have gone by."""
    ledger.ingest(creation())
    with ledger.open() as workspace:
        (account,) = questions.open_accounts(workspace, CutRequest(at), OpenFilter()).accounts
    assert (account["state"], account["age_seconds"]) == (state, age)
    assert account["properties"] == {"charge": "ch_1", "business": "acct_A"}


def test_the_age_counts_whole_seconds(ledger: Ledger, creation: Make) -> None:
    """Two tenths of a second are no second, even when a second of the clock begins between them."""
    ledger.ingest(creation(effective_at="2026-01-02T03:04:05.900Z"))
    with ledger.open() as workspace:
        report = questions.open_accounts(workspace, CutRequest("2026-01-02T03:04:06.100Z"), OpenFilter())
    assert report.accounts[0]["age_seconds"] == 0


def test_clearing_is_by_money_and_by_count(ledger: Ledger, creation: Make, release: Make) -> None:
    """Of 4,000 due in two charges one of 1,000 is cleared and 500 of the other is left over."""
    other = {"charge": "ch_2", "business": "acct_A"}
    ledger.ingest(creation(), release())
    ledger.ingest(creation(id="e3", properties={**other, "network": "visa"}, amounts={"gross": 3000}, currency="USD"))
    ledger.ingest(release(id="e4", properties=other, amounts={"net": 2400, "fee": 100}))
    row = charges(ledger)
    assert (row["open_count"], row["open_money"], row["overdue_money"], row["due_money"]) == (1, 500, 500, 4000)
    assert (row["due_count"], row["clearing"], row["clearing_by_count"]) == (2, 0.875, 0.5)


def test_a_release_to_the_wrong_business_leaves_two_open(ledger: Ledger, creation: Make, release: Make) -> None:
    """One account is left full and one overdrawn; both count with the amount of their balance, and both were due."""
    ledger.ingest(creation(), release(properties={"charge": "ch_1", "business": "acct_B"}))
    row = charges(ledger)
    assert (row["open_count"], row["open_money"], row["due_money"], row["clearing"]) == (2, 2000, 2000, 0.0)


def test_a_learned_window_is_never_overdue(new_ledger: NewLedger, design_flow: str, creation: Make) -> None:
    """Until there is history its accounts are in flight, and nothing is due."""
    ledger = new_ledger(design_flow.replace("10 minutes", "learned"))
    ledger.ingest(creation())
    row = charges(ledger)
    assert (row["in_flight_money"], row["overdue_count"], row["due_count"], row["clearing"]) == (1000, 0, 0, None)


def test_business_days_are_of_the_projects_zone(new_ledger: NewLedger, design_flow: str, creation: Make) -> None:
    """A charge of Friday afternoon in New York, Saturday in Greenwich, is due on Monday at the same local time."""
    flow = design_flow.replace("10 minutes", "1 business day, calendar: US-NY")
    ledger = new_ledger(flow, time_zone="America/New_York")
    ledger.ingest(creation(effective_at="2026-02-28T01:00:00Z"))
    assert charges(ledger, "2026-03-03T00:59:59Z")["overdue_count"] == 0
    assert charges(ledger, "2026-03-03T01:00:00Z")["overdue_count"] == 1


@pytest.mark.parametrize("time_zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_the_first_day_of_the_calendar_stops_no_question(
    new_ledger: NewLedger, design_flow: str, creation: Make, time_zone: str
) -> None:
    """An event that was accepted can be asked about, however long ago it was effective."""
    flow = design_flow.replace("10 minutes", "1 business day, calendar: US-NY")
    ledger = new_ledger(flow, time_zone=time_zone)
    accepted = ledger.ingest(creation(effective_at="0001-01-01T00:00:00Z")).accepted
    assert charges(ledger)["overdue_count"] == accepted


WANTED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["ch_1", "ch_2", "ch_3"]),
    ({"sort": "money"}, ["ch_3", "ch_2", "ch_1"]),
    ({"limit": 1}, ["ch_1"]),
    ({"properties": {"charge": "ch_2"}}, ["ch_2"]),
    ({"properties": {"charge": "ch_2", "business": "x"}}, []),
    ({"least_money": 2000, "most_money": 2999}, ["ch_2"]),
    ({"currency": "EUR"}, ["ch_3"]),
    ({"state": "in_flight"}, ["ch_3"]),
    ({"older_than_seconds": 3600}, ["ch_1", "ch_2"]),
    ({"flow": "card_payments", "owner": "payments-engineering"}, ["ch_1", "ch_2", "ch_3"]),
    ({"account_type": "platform_fees"}, []),
]


@pytest.fixture(scope="module")
def three(new_ledger: NewLedger, creation: Make) -> Ledger:
    """Three open charges: two old ones in dollars, one young one in euros."""
    ledger = new_ledger()
    for number, (at, currency) in enumerate(
        [(OPENED, "USD"), ("2026-02-01T00:00:00Z", "USD"), ("2026-03-01T11:59:00Z", "EUR")], 1
    ):
        properties = {"charge": f"ch_{number}", "business": "b", "network": "visa"}
        amounts = {"gross": {"value": 1000 * number, "currency": currency}}
        ledger.ingest(creation(id=f"e{number}", properties=properties, effective_at=at, amounts=amounts))
    return ledger


@pytest.mark.parametrize(("wanted", "expected"), WANTED)
def test_open_accounts_are_found_by_what_is_wanted(three: Ledger, wanted: dict[str, Any], expected: list[str]) -> None:
    """Each filter takes its part, sorts order, and the total counts all that match whatever the limit."""
    with three.open() as workspace:
        report = questions.open_accounts(workspace, CutRequest(), OpenFilter(**wanted))
    assert [account["properties"]["charge"] for account in report.accounts] == expected
    assert report.total == (3 if wanted == {"limit": 1} else len(expected))


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"flow": "cards"}, "flow_unknown"),
        ({"account_type": "charge"}, "account_type_unknown"),
        ({"properties": {"colour": "red"}}, "property_unknown"),
        ({"sort": "colour"}, "sort_unknown"),
    ],
)
def test_unknown_names_are_the_callers_mistake(three: Ledger, wanted: dict[str, Any], code: str) -> None:
    """A name that the model does not know is refused, so that an empty answer always means that nothing is open."""
    with three.open() as workspace, pytest.raises(UsageError) as caught:
        questions.open_accounts(workspace, CutRequest(), OpenFilter(**wanted))
    assert caught.value.code == code
