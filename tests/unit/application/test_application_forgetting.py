"""Forgetting a subject, and reading what is personal before and after."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.application import forgetting, modelling, quarantining, querying, tracing
from clearwell.application.cutting import CutRequest
from clearwell.application.forgetting import names_subject
from clearwell.catalog.keys import KeyState
from clearwell.errors import DataError, StorageError, UsageError

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]

PERSONAL = {"name": {"personal": True, "subject": "customer"}, "email": {"personal": True}}


def flow_with(design_flow: str, properties: dict[str, Any]) -> str:
    declared = {name: {} for name in ("charge", "business", "network", "customer")} | properties
    return design_flow.replace("producer: charges\n", f"producer: charges\n    properties: {json.dumps(declared)}\n")


def person(customer: str = "cus_1", **values: Any) -> dict[str, Any]:
    return {"charge": "ch_1", "business": "acct_A", "network": "visa", "customer": customer, **values}


@pytest.fixture
def private(new_ledger: NewLedger, design_flow: str) -> Ledger:
    return new_ledger(flow_with(design_flow, PERSONAL))


@pytest.fixture
def filled(private: Ledger, creation: Make) -> Ledger:
    """Three creations: two of Alice, and one of Bob."""
    people = [("cus_1", "Alice"), ("cus_2", "Bob"), ("cus_1", "Alice")]
    private.ingest(
        *(
            creation(id=f"e{number}", properties=person(customer, name=name, email=f"{name}@example.com"))
            for number, (customer, name) in enumerate(people)
        )
    )
    return private


def forget(ledger: Ledger, subject: str) -> forgetting.Forgotten:
    with ledger.open() as workspace:
        return forgetting.forget(workspace, subject)


def traced(ledger: Ledger, **values: str) -> list[dict[str, Any]]:
    with ledger.open() as workspace:
        return [event["properties"] for event in tracing.trace(workspace, CutRequest(), values).events]


def asked(ledger: Ledger, sql: str, **cut: str) -> list[tuple[Any, ...]]:
    with ledger.open() as workspace, querying.query(workspace, CutRequest(**cut), sql) as answer:
        return [tuple(row) for row in answer.rows]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_trace_opens_values(filled: Ledger) -> None:
    """A trace shows the clear text, and after forgetting that it is erased; the id that was traced stays."""
    assert [(item["name"], item["email"]) for item in traced(filled, customer="cus_1")] == [
        ("Alice", "Alice@example.com")
    ] * 2
    forget(filled, "cus_1")
    assert [(item["name"], item["email"]) for item in traced(filled, customer="cus_1")] == [
        ("(erased)", "Alice@example.com")
    ] * 2
    assert [item["name"] for item in traced(filled, customer="cus_2")] == ["Bob"]


def test_a_value_that_is_its_own_subject_can_be_traced(filled: Ledger) -> None:
    """The search is for the encrypted form; without its key nothing can be found."""
    assert len(traced(filled, email="Alice@example.com")) == 2
    assert traced(filled, email="nobody@example.com") == []
    forget(filled, "Alice@example.com")
    assert traced(filled, email="Alice@example.com") == []
    assert [item["email"] for item in traced(filled, customer="cus_1")] == ["(erased)"] * 2


def test_a_value_of_another_subject_cannot_be_traced(filled: Ledger) -> None:
    """The message says what to trace by instead."""
    with pytest.raises(UsageError, match="trace by customer") as caught:
        traced(filled, name="Alice")
    assert caught.value.code == "property_not_searchable"


def test_queries_open_values(filled: Ledger) -> None:
    """A query selects, compares and groups clear texts, at any cut."""
    assert asked(filled, "SELECT property_name, count(*) FROM events GROUP BY 1 ORDER BY 1") == [
        ("Alice", 2),
        ("Bob", 1),
    ]
    assert asked(filled, "SELECT id FROM events WHERE property_email = 'Bob@example.com'") == [("e1",)]
    forget(filled, "cus_2")
    names = "SELECT property_name FROM events ORDER BY sequence"
    assert asked(filled, names) == [("Alice",), ("(erased)",), ("Alice",)]
    assert asked(filled, names, at="2026-01-03", known_at="2") == [("Alice",), ("(erased)",)]


def test_a_query_of_another_column_needs_no_keys(filled: Ledger) -> None:
    """Only the columns that a query reads are decrypted: without the file of keys, the others are as they were."""
    (filled.data / "keys.sqlite").unlink()
    assert asked(filled, "SELECT count(DISTINCT property_customer) FROM events") == [(2,)]
    assert asked(filled, "SELECT DISTINCT property_name FROM events") == [("(unreadable)",)]
    assert not (filled.data / "keys.sqlite").exists()


def test_old_events_in_clear_are_still_found(new_ledger: NewLedger, design_flow: str, creation: Make) -> None:
    """Values from before the property was personal can be traced and read beside the encrypted ones."""
    ledger = new_ledger(flow_with(design_flow, {"email": {}}))
    ledger.ingest(creation(properties=person(email="a@example.com")))
    ledger.write_flow(flow_with(design_flow, PERSONAL))
    with ledger.open() as workspace:
        modelling.accept_model(workspace)
    ledger.ingest(creation(id="e2", properties=person(email="a@example.com")))
    assert [item["email"] for item in traced(ledger, email="a@example.com")] == ["a@example.com"] * 2
    assert asked(ledger, "SELECT property_email, property_name FROM events") == [("a@example.com", None)] * 2
    done = forget(ledger, "a@example.com")
    assert done.in_clear == ("email",)
    assert [item["email"] for item in traced(ledger, customer="cus_1")] == ["a@example.com", "(erased)"]


# --- forgetting -------------------------------------------------------------------------------------------------------


def test_forgetting_says_what_it_did(filled: Ledger) -> None:
    """The first time it destroys, the second time there is nothing left; a stranger is remembered."""
    assert forget(filled, "cus_1") == forgetting.Forgotten("cus_1", KeyState.DESTROYED, 0, ())
    assert forget(filled, "cus_1").key is KeyState.DESTROYED_BEFORE
    assert forget(filled, "cus_9").key is KeyState.NEVER_SEEN
    assert forget(filled, "cus_9").key is KeyState.DESTROYED_BEFORE


def test_the_state_of_a_key_is_only_looked_at(filled: Ledger, new_ledger: NewLedger) -> None:
    """Asking what is known of a subject changes nothing, and makes no file."""
    empty = new_ledger()
    for ledger, subject, expected in (
        (empty, "cus_1", KeyState.NEVER_SEEN),
        (filled, "cus_1", KeyState.KEPT),
        (filled, "cus_9", KeyState.NEVER_SEEN),
    ):
        with ledger.open() as workspace:
            assert forgetting.key_state(workspace, subject) is expected
            assert forgetting.key_state(workspace, subject) is expected
    assert not empty.data.exists()


def test_a_subject_can_be_forgotten_in_a_new_project(ledger: Ledger) -> None:
    """Before there is any event, the subject is remembered, and no catalog is made."""
    assert forget(ledger, "cus_1").key is KeyState.NEVER_SEEN
    assert [item.name for item in ledger.data.glob("*.sqlite")] == ["keys.sqlite"]


@pytest.mark.parametrize("subject", ["", "x" * 513])
def test_a_text_that_names_nobody_is_wrong_use(private: Ledger, subject: str) -> None:
    """A subject is a property value: 1 to 512 bytes."""
    with pytest.raises(UsageError) as caught:
        forget(private, subject)
    assert caught.value.code == "subject_invalid"


# --- quarantine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (b'{"properties": {"customer": "cus_1"}}', True),
        (b'{"properties": {"customer": "cus_\\u0031"}}', True),
        (b'{"customer": [{"id": "cus_1"}]}', True),
        (b'{"properties": {"customer": "cus_12"}, "note": "of cus_1"}', False),
        (b'{"cus_1": 1}', False),
        (b'charge.creation,e1,"cus_1",10', True),
        (b"charge.creation,e1,cus_12,10", False),
        (b'{"properties": {"customer": "cus_1"', True),
        (b'\xff{"customer": "cus_1"}', True),
        (b"[" * 100_000 + b'"cus_1"', True),
    ],
)
def test_which_records_name_a_subject(record: bytes, names: bool) -> None:
    """A JSON text that is the subject does; in what is no JSON, the subject as a word."""
    assert names_subject(record, "cus_1") is names


def test_numbers_name_a_subject_but_not_money() -> None:
    """A property may be a number, which counts as its text; amounts are never a person."""
    assert names_subject(b'{"properties": {"customer": 1000}}', "1000")
    assert not names_subject(b'{"properties": {"customer": "a"}, "amounts": {"gross": 1000}}', "1000")


def test_quarantine_is_erased_too(filled: Ledger, creation: Make) -> None:
    """Records that name the subject, waiting or replayed, lose what they said; they keep number, code and place."""
    refused = creation(id="q1", properties=person(name="Alice"), amounts={})
    other = creation(id="q2", properties=person("cus_2", name="Bob"), amounts={})
    cells = b"charge.creation,q3,cus_1,Alice\n"
    table = b"type,id,effective_at,occurred_at,property_customer,property_name\n"
    filled.ingest(refused, other)
    filled.ingest_file(filled.write(table + cells, "rows.csv"))
    corrected = json.dumps(creation(id="q4", properties=person(name="Alice"))).encode()
    filled.ingest(creation(id="q4", properties=person(name="Alice"), amounts={}), name="third.ndjson")
    with filled.open() as workspace:
        assert quarantining.retry(workspace, [4], corrected).released == (4,)
    assert forget(filled, "cus_1").quarantined == 3
    assert forget(filled, "cus_1").quarantined == 0
    with filled.open() as workspace:
        records = {item.number: item for item in quarantining.quarantined(workspace, everything=True)}
    assert {number: item.state for number, item in records.items()} == {
        1: "erased",
        2: "waiting",
        3: "erased",
        4: "erased",
    }
    assert (records[1].record, records[1].reason.code) == (b"(erased)", "amount_missing")
    content = filled.catalog_bytes()
    assert b"Alice" not in content
    assert b"cus_1" not in content
    assert b"Bob" in content


def test_an_erased_record_stays_erased(filled: Ledger, creation: Make) -> None:
    """The same record again, from the same place, is counted there and not kept anew, whatever its code is now."""
    refused = creation(id="q1", properties=person(name="Alice"), amounts={})
    filled.ingest(refused)
    forget(filled, "cus_1")
    filled.write_flow(filled.folder.joinpath("flows/flow.yaml").read_text().replace("charge.creation", "charge.made"))
    with filled.open() as workspace:
        modelling.accept_model(workspace)
    assert filled.ingest(refused).quarantined == 1
    with filled.open() as workspace:
        (found,) = quarantining.quarantined(workspace, everything=True)
        with pytest.raises(UsageError, match="it was erased"):
            quarantining.retry(workspace, [1])
    assert (found.state, found.seen_count, found.record) == ("erased", 2, b"(erased)")
    assert (found.reason.code, found.reason.found) == ("amount_missing", "(erased)")


def test_an_erasure_that_was_held_up_is_done_by_the_next(
    filled: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch, catalog_kind: str
) -> None:
    """While somebody reads the catalog its old pages may be needed: that is said, and repeating the call helps."""
    monkeypatch.setattr("clearwell.catalog.transactions.BUSY_MILLISECONDS", 10)
    filled.ingest(creation(id="q1", properties=person(name="Alice"), amounts={}))
    with filled.catalog() as reader:
        reader.exec_driver_sql("BEGIN" if catalog_kind == "sqlite" else "SELECT 1")
        reader.exec_driver_sql("SELECT count(*) FROM quarantine").all()
        with pytest.raises(StorageError) as caught:
            forget(filled, "cus_1")
    held_up = {"sqlite": "erasure_incomplete", "postgresql": "catalog_not_writable"}
    assert caught.value.code == held_up[catalog_kind]
    assert forget(filled, "cus_1").quarantined == (0 if catalog_kind == "sqlite" else 1)
    assert b"Alice" not in filled.catalog_bytes()


# --- a changed model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({"email": {}}, PERSONAL, "2 events in the log keep email in clear, also when their subject is forgotten"),
        ({}, PERSONAL, "2 events in the log keep email in clear, also when their subject is forgotten"),
        (PERSONAL, {}, "email is personal no longer: new events keep it in clear, those in the log stay encrypted"),
    ],
    ids=["it was in clear", "it was not declared", "it is personal no more"],
)
def test_a_change_of_what_is_personal_needs_a_person(
    new_ledger: NewLedger,
    design_flow: str,
    creation: Make,
    before: dict[str, Any],
    after: dict[str, Any],
    text: str,
) -> None:
    """What the log keeps as it is, and what new events would say in clear, is said before it happens."""
    ledger = new_ledger(flow_with(design_flow, before))
    ledger.ingest(*(creation(id=f"e{number}", properties=person(email="a@example.com")) for number in (1, 2)))
    ledger.ingest(creation(id="e3", properties=person()))
    ledger.write_flow(flow_with(design_flow, after))
    with ledger.open() as workspace:
        report = modelling.check(workspace)
    assert text in [item.text for item in report.consequences]
    with pytest.raises(DataError) as caught:
        ledger.ingest(creation(id="e4"))
    assert caught.value.code == "model_change_not_accepted"


def test_a_property_that_is_new_costs_nothing(new_ledger: NewLedger, design_flow: str, creation: Make) -> None:
    """Where no event has the property yet, nobody needs to be asked."""
    ledger = new_ledger(flow_with(design_flow, {}))
    ledger.ingest(creation(properties=person()))
    ledger.write_flow(flow_with(design_flow, PERSONAL))
    assert ledger.ingest(creation(id="e2", properties=person(name="Alice"))).accepted == 1


def test_check_says_what_is_personal(private: Ledger) -> None:
    """The report lists each personal property, where it is carried, and whose it is."""
    with private.open() as workspace:
        report = modelling.check(workspace)
    assert [(item.event_type, item.property, item.subject) for item in report.personal] == [
        ("charge.creation", "name", "customer"),
        ("charge.creation", "email", None),
    ]
