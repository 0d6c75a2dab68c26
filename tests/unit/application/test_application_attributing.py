"""Attributing what is overdue, late and missing to incidents, and what of a score that explains."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.errors import UsageError
from clearwell.project import Project

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]

AT = {"at": "2026-01-03"}


def charge(number: int) -> dict[str, str]:
    return {"charge": f"ch_{number}", "business": f"acct_{number % 2}", "network": "visa"}


def subject(number: int) -> str:
    return f"charge_undisbursed{{charge=ch_{number}, business=acct_{number % 2}}}"


@pytest.fixture
def told(ledger: Ledger, design_flow: str, creation: Make) -> Ledger:
    """Four charges, opened at 3, 4, 5 and 6 o'clock, none released; all are late but the last."""
    ledger.write_flow(design_flow.replace("producer: charges", "producer: charges\n    arrives_within: 1 hour"))
    ledger.clock.now = datetime(2026, 1, 2, 6, 30, tzinfo=UTC)
    times = [f"2026-01-02T0{3 + number}:00:00Z" for number in range(4)]
    ledger.ingest(
        *(
            creation(id=f"e{number}", properties=charge(number), effective_at=at, occurred_at=at)
            for number, at in enumerate(times)
        )
    )
    ledger.clock.advance(days=1)
    return ledger


def company(project: Project, **asked: Any) -> tuple[int, float | None]:
    """What is attributed of the company's money, and what is explained."""
    row = project.scores(**{**AT, "period": "all", **asked}).nodes[0]
    return row["attributed_money"], row["explained"]


def test_without_attributions_the_score_is_what_is_explained(told: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is asked but whether there are any."""

    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("clearwell.application.explaining.Attributed", never)
    with told.open() as workspace:
        for row in Project(workspace).scores(**AT, period="all").nodes:
            assert (row["attributed_money"], row["explained"]) == (0, row["score"])


def test_each_rule_is_attributed_apart(told: Ledger) -> None:
    """An account explains its overdue money at its type and above, an event its late money at its flow and above."""
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage", "the gateway was down")
        assert project.attribute("outage", subject(0), subject(1)).changed == 2
        assert company(project) == (2000, 0.0)
        rows = {row["node"]: row for row in project.scores(**AT, period="all").nodes}
        assert (rows["account_type"]["attributed_money"], rows["account_type"]["explained"]) == (2000, 0.5)
        project.attribute("outage", "charges/e0", "charges/e3", rule="late")
        assert company(project) == (3000, 0.0)
        project.attribute("outage", event_type="charge.creation")
        project.attribute("outage", account_type="charge_undisbursed", **AT)
        assert company(project) == (7000, 1.0)
        (told_of,) = project.incidents()
        assert told_of.counts == {"uncleared": 4, "late": 4, "missing": 0}  # e3 was named, though it is in time.
        assert told_of.incident.known == "the gateway was down"


def test_only_the_cut_and_the_period_count(told: Ledger) -> None:
    """Of what is attributed: before it is overdue, or in another period, there is nothing to explain."""
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage")
        project.attribute("outage", account_type="charge_undisbursed", **AT)
        assert company(project, at="2026-01-02T05:05:00Z")[0] == 2000
        assert company(project, at="2026-01-02T06:30:00Z", period="2026-01-02T04")[0] == 1000
        report = project.scores(at="2026-01-02T06:30:00Z", period="2026-01-02T05")
        assert [rows[0]["attributed_money"] for rows in (report.nodes, report.before)] == [1000, 1000]
        assert report.explained_at == told.clock.now


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"properties": {"business": "acct_1"}}, [1, 3]),
        (
            {"opened_from": datetime(2026, 1, 2, 4, tzinfo=UTC), "opened_until": datetime(2026, 1, 2, 6, tzinfo=UTC)},
            [1, 2],
        ),
        ({"properties": {"charge": "none"}}, []),
    ],
)
def test_a_selection_is_written_down_as_its_subjects(told: Ledger, wanted: dict[str, Any], found: list[int]) -> None:
    """Of overdue accounts: by property, and by when they were opened, the end not included."""
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage")
        done = project.attribute("outage", account_type="charge_undisbursed", **AT, **wanted)
        assert (done.found, done.changed) == (len(found), len(found))
        assert project.withdraw("outage", *map(subject, range(4))).changed == len(found)
        project.attribute("outage", *map(subject, found or [0]))
        assert project.withdraw("outage", account_type="charge_undisbursed", **AT, **wanted).changed == len(found)


def test_late_events_of_a_period(told: Ledger, creation: Make) -> None:
    """Those recorded in it, and known at the cut; not those that came in time."""
    told.ingest(creation(id="later", properties=charge(9)))
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage")
        counts = [
            project.attribute("outage", event_type="charge.creation", **asked).found
            for asked in ({}, {"period": "2026-01-02"}, {"period": "2026-01-03"}, {"known_at": 4})
        ]
        assert counts == [4, 3, 1, 3]
        assert project.attribute("outage", event_type="charge.release").found == 0


def test_missing_records_of_a_comparison(told: Ledger) -> None:
    """With amounts to the last unit, and of an estimate the share of the records."""
    told.ingest_file(told.write(b"", "none.ndjson"))
    told.write(b"id,amount,currency\ne0,1000,USD\ngone1,250,USD\ngone2,-50,USD\ngone3,7,EUR\n", "records.csv")
    source = {"event_type": "charge.creation", "file": "records.csv", "amount_of": "gross"}
    told.write_settings(producer_sources={"charges": source})
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage")
        (found,) = project.completeness(**AT)
        assert project.attribute("outage", comparison=found.number).changed == 3
        nodes = {row["currency"]: row for row in project.scores(**AT, period="all").nodes if row["node"] == "company"}
        assert [nodes[name]["attributed_money"] for name in ("USD", "EUR")] == [300, 7]
        project.withdraw("outage", "charges/gone2", rule="missing")
        assert company(project, engine="duckdb")[0] in (7, 250)
        told.write(b"id\ne0\ngone1\ngone2\ngone3\n", "records.csv")
        (estimated,) = project.completeness(**AT)
        assert estimated.missing_money == {"USD": {"count": 3, "money": 3000}}
        assert company(project)[0] == 2000


def test_moving_must_be_asked_for(told: Ledger) -> None:
    """To another incident nothing goes by itself; again to the same one it changes nothing."""
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage")
        project.open_incident("deploy")
        project.attribute("outage", subject(0))
        assert project.attribute("outage", subject(0)).changed == 0
        with pytest.raises(UsageError) as caught:
            project.attribute("deploy", subject(1), subject(0))
        assert (caught.value.code, caught.value.details) == ("subject_attributed_elsewhere", (f"{subject(0)}: outage",))
        assert company(project)[0] == 1000
        done = project.attribute("deploy", subject(1), subject(0), move=True)
        assert (done.found, done.changed, done.moved) == (2, 2, 1)
        assert [item.counts["uncleared"] for item in project.incidents()] == [0, 2]
        assert project.withdraw("deploy").changed == 2
        assert company(project)[0] == 0


def test_more_than_a_page(told: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pages there are: all, and before anything is written it is known that nobody else has them."""
    monkeypatch.setattr("clearwell.application.attributing.PAGE", 2)
    monkeypatch.setattr("clearwell.catalog.incidents.PAGE", 2)
    monkeypatch.setattr("clearwell.application.explaining._EVENTS_AT_ONCE", 2)
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage")
        project.open_incident("deploy")
        project.attribute("deploy", subject(3))
        with pytest.raises(UsageError):
            project.attribute("outage", account_type="charge_undisbursed", **AT)
        assert [item.counts["uncleared"] for item in project.incidents()] == [0, 1]
        project.attribute("outage", account_type="charge_undisbursed", **AT, move=True)
        project.attribute("outage", event_type="charge.creation")
        assert company(project) == (7000, 1.0)
        assert project.withdraw("outage").changed == 7


def test_a_closed_incident_keeps_what_it_explains(told: Ledger) -> None:
    """It is listed on request only, and cannot be closed twice."""
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage", "down")
        project.attribute("outage", subject(0))
        assert project.close_incident("outage").known == "down"
        assert project.incidents() == []
        (item,) = project.incidents(closed=True)
        assert item.row["closed_at"] == "2026-01-03T06:30:00.000000Z"
        assert company(project)[0] == 1000
        with pytest.raises(UsageError, match="closed at"):
            project.close_incident("outage")


@pytest.mark.parametrize(
    ("subjects", "wanted", "code"),
    [
        (["charge_undisbursed{charge=ch_1}"], {}, "subject_unknown"),
        (["business_balance{business=acct_A}"], {}, "subject_unknown"),
        (["charges/e9"], {"rule": "late"}, "subject_unknown"),
        (["nobody/e1"], {"rule": "missing"}, "subject_unknown"),
        (["charges/"], {"rule": "missing"}, "subject_unknown"),
        ([], {}, "selection_unclear"),
        (["charges/e1"], {"rule": "late", "comparison": 1}, "selection_unclear"),
        (["charges/e1"], {"rule": "late", "period": "2026-01"}, "selection_unclear"),
        ([], {"event_type": "charge.creation", "properties": {"charge": "ch_1"}}, "selection_unclear"),
        ([], {"event_type": "charge.burning"}, "event_type_unknown"),
        ([], {"event_type": "charge.creation", "period": "soon"}, "period_unreadable"),
        ([], {"account_type": "purse"}, "account_type_unknown"),
        ([], {"account_type": "charge_undisbursed", "properties": {"colour": "red"}}, "property_unknown"),
        ([], {"comparison": 7}, "comparison_unknown"),
    ],
)
def test_what_cannot_be_meant_is_refused(told: Ledger, subjects: list[str], wanted: dict[str, Any], code: str) -> None:
    """With what was expected, and nothing is attributed."""
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage")
        with pytest.raises(UsageError) as caught:
            project.attribute("outage", *subjects, **wanted)
        assert caught.value.code == code
        assert sum(project.incidents()[0].counts.values()) == 0


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("outage", "incident_name_taken"),
        (" ", "incident_name_invalid"),
        ("a\nb", "incident_name_invalid"),
        ("n" * 256, "incident_name_invalid"),
    ],
)
def test_names_of_incidents(told: Ledger, name: str, code: str) -> None:
    """Each is new, and can be printed."""
    with told.open() as workspace:
        project = Project(workspace)
        project.open_incident("outage")
        with pytest.raises(UsageError) as caught:
            project.open_incident(name)
        assert caught.value.code == code
        with pytest.raises(UsageError, match="open are: outage"):
            project.attribute("nothing", subject(0))
