"""Encryption changes nothing but what it encrypts: the books are the same, and what was said can be read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearwell.application import forgetting, querying, questions
from clearwell.application.cutting import CutRequest

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

REAL = settings(max_examples=15, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["charge.creation", "charge.release"]),
        st.sampled_from(["ch_1", "ch_2", "ch_3"]),
        st.sampled_from(["cus_1", "cus_2", "cus_3"]),
        st.none() | NAMES,
        st.none() | st.sampled_from(["a@example.com", "b@example.com"]),
        st.integers(0, 10_000),
    ),
    min_size=1,
    max_size=20,
)
PROPERTIES = ("charge", "business", "network", "customer", "name", "email")
PERSONAL = {"name": {"personal": True, "subject": "customer"}, "email": {"personal": True}}


def flow_with(design_flow: str, personal: dict[str, Any]) -> str:
    """The flow of the design with the properties of these records, all in clear but for `personal`."""
    text = design_flow
    for producer in ("charges", "disbursements"):
        properties = json.dumps({name: personal.get(name, {}) for name in PROPERTIES})
        text = text.replace(f"producer: {producer}\n", f"producer: {producer}\n    properties: {properties}\n")
    return text


def wire(number: int, record: tuple[Any, ...]) -> dict[str, Any]:
    kind, charge, customer, name, email, amount = record
    amounts = {"gross": amount} if kind == "charge.creation" else {"net": amount, "fee": 1}
    values = (charge, "acct_A", "visa", customer, name, email)
    return {
        "type": kind,
        "id": f"evt_{number}",
        "effective_at": f"2026-01-02T03:04:{number:02}Z",
        "occurred_at": "2026-01-02T03:04:05Z",
        "currency": "USD",
        "properties": dict(zip(PROPERTIES, values, strict=True)),
        "amounts": amounts,
    }


def books(ledger: Ledger) -> list[Any]:
    """Everything that is asked of the books, and the sums of the manifest."""
    with ledger.open() as workspace:
        asked = CutRequest("2026-01-02T03:30:00Z")
        return [
            questions.status(workspace, asked).account_types,
            questions.open_accounts(workspace, asked, questions.OpenFilter()).accounts,
            [(item.entry_count, item.moved) for item in workspace.log().segments],
        ]


def said(ledger: Ledger) -> list[tuple[Any, ...]]:
    """What the events say, as a reader sees it."""
    columns = ", ".join(f"property_{name}" for name in PROPERTIES)
    sql = f"SELECT {columns} FROM events ORDER BY sequence"
    with ledger.open() as workspace, querying.query(workspace, CutRequest(), sql) as answer:
        return [tuple(row) for row in answer.rows]


@REAL
@given(RECORDS)
def test_the_books_are_the_same_with_and_without(
    new_ledger: NewLedger, design_flow: str, records: list[tuple[Any, ...]]
) -> None:
    """With personal properties the books, and what a reader sees, are those of a ledger that keeps all in clear."""
    lines = [wire(number, record) for number, record in enumerate(records)]
    encrypted = new_ledger(flow_with(design_flow, PERSONAL))
    clear = new_ledger(flow_with(design_flow, {}))
    assert encrypted.ingest(*lines) == clear.ingest(*lines)
    assert books(encrypted) == books(clear)
    assert said(encrypted) == said(clear)
    assert encrypted.ingest(*lines).duplicates == len(lines)


@REAL
@given(RECORDS, st.sampled_from(["cus_1", "cus_2", "a@example.com"]))
def test_forgetting_erases_one_subject_and_changes_no_books(
    new_ledger: NewLedger, design_flow: str, records: list[tuple[Any, ...]], subject: str
) -> None:
    """What belongs to the subject reads as erased, everything else as before; the events are known again."""
    lines = [wire(number, record) for number, record in enumerate(records)]
    ledger = new_ledger(flow_with(design_flow, PERSONAL))
    ledger.ingest(*lines)
    before, balances = said(ledger), books(ledger)
    with ledger.open() as workspace:
        forgetting.forget(workspace, subject)
    expected = [
        (
            *row[:4],
            "(erased)" if row[3] == subject and row[4] is not None else row[4],
            "(erased)" if row[5] == subject else row[5],
        )
        for row in before
    ]
    assert said(ledger) == expected
    assert books(ledger) == balances
    assert ledger.fault_codes() == set()
    assert ledger.ingest(*lines).duplicates == len(lines)
