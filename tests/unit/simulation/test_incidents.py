"""Incidents and rates as they are written: what is read, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clearwell.errors import UsageError
from clearwell.simulation.incidents import NEVER, Incident, incident_from
from clearwell.simulation.options import NO_FAULTS, FaultRates, WorldOptions, with_rates

DAY = datetime(2026, 1, 7, tzinfo=UTC)


def test_an_incident_is_read() -> None:
    """Kind, producer, start and end; a dropped hour has no delay, and a stuck file is three days late unless said."""
    hour = incident_from("dropped_hour:card_gateway:2026-01-07T18:00Z/2026-01-07T19:00Z")
    assert hour == Incident("dropped_hour", "card_gateway", DAY.replace(hour=18), DAY.replace(hour=19))
    assert hour.delay is None
    stuck = incident_from("stuck_bank_file:bank_statements:2026-01-07/2026-01-08")
    assert (stuck.bank, stuck.delay) == (None, timedelta(days=3))
    assert incident_from("stuck_bank_file:bank_statements.rhine_bank:2026-01-07/2026-01-08/never").delay == NEVER


@pytest.mark.parametrize(
    "text",
    [
        "dropped_hour:card_gateway:2026-01-07T18:00Z/2026-01-07T19:00Z",
        "stuck_bank_file:bank_statements.rhine_bank:2026-01-07/2026-01-08",
        "stuck_bank_file:bank_statements:2026-01-07/2026-01-08/never",
        "stuck_bank_file:bank_statements:2026-01-07/2026-01-08/1 day",
        "late_event:charges:2026-01-07T18:00:01.5Z/2026-01-08/36 hours",
        "late_settlement:card_gateway:2026-01-07/2026-01-08/61 seconds",
    ],
)
def test_the_name_of_an_incident_is_how_it_is_written(text: str) -> None:
    """Reading and naming are each other's inverse."""
    assert incident_from(incident_from(text).name) == incident_from(text)
    assert incident_from(text).name in {text, text.replace("1.5Z", "1.500000Z"), text.replace("36 hours", "36 hours")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dropped_hour", "KIND:PRODUCER:START/END"),
        ("dropped_hour:charges:2026-01-07", "KIND:PRODUCER:START/END"),
        ("flood:charges:2026-01-07/2026-01-08", "a kind of"),
        ("dropped_hour:mainframe:2026-01-07/2026-01-08", "a producer of"),
        ("wrong_fee:payouts:2026-01-07/2026-01-08", "a producer that can have a wrong_fee"),
        ("stuck_bank_file:payouts:2026-01-07/2026-01-08", "a producer that can have a stuck_bank_file"),
        ("dropped_hour:payouts.rhine_bank:2026-01-07/2026-01-08", "no bank"),
        ("stuck_bank_file:bank_statements.my_bank:2026-01-07/2026-01-08", "a bank of"),
        ("dropped_hour:payouts:2026-01-08/2026-01-07", "a start before an end"),
        ("dropped_hour:payouts:2026-01-07T10:00/2026-01-08", "an offset"),
        ("dropped_hour:payouts:2026-01-07/2026-01-08/2 days", "no delay"),
        ("late_event:payouts:2026-01-07/2026-01-08/never", "an end of the delay"),
        ("late_event:payouts:2026-01-07/2026-01-08/soon", "a duration"),
        ("late_event:payouts:2026-01-07/2026-01-08/learned", "a fixed duration"),
    ],
)
def test_an_incident_that_could_strike_nothing_is_refused(text: str, expected: str) -> None:
    """The message says what was expected."""
    with pytest.raises(UsageError, match=expected) as caught:
        incident_from(text)
    assert caught.value.code == "incident_unreadable"


def test_a_delay_below_zero_and_a_time_without_zone_are_refused() -> None:
    """An incident made in Python is held to the same rules."""
    with pytest.raises(UsageError, match="above zero"):
        Incident("late_event", "charges", DAY, DAY + timedelta(1), late=timedelta(0))
    with pytest.raises(UsageError, match="with a zone"):
        Incident("late_event", "charges", DAY.replace(tzinfo=None), DAY.replace(tzinfo=None) + timedelta(1))


def test_rates_of_one_lifecycle_go_before_those_of_all() -> None:
    """A rate for all strikes every lifecycle, but where one is named."""
    options = with_rates(WorldOptions(faults=NO_FAULTS), {"payout.late_event": 0.5, "late_event": 0.1})
    assert options.rates_of("payout") == FaultRates(**{**vars(NO_FAULTS), "late_event": 0.5})
    assert options.rates_of("charge") == FaultRates(**{**vars(NO_FAULTS), "late_event": 0.1})
    again = with_rates(options, {"missing_event": 0.2})
    assert again.rates_of("payout").missing_event == 0.2
    assert again.rates_of("payout").late_event == 0.5


@pytest.mark.parametrize("key", ["flood", "payout.flood", "loan.late_event", "payout.", ".late_event"])
def test_a_rate_of_nothing_is_refused(key: str) -> None:
    """An unknown kind of fault or lifecycle is the caller's mistake."""
    with pytest.raises(UsageError, match="expected one of"):
        with_rates(WorldOptions(), {key: 0.1})
