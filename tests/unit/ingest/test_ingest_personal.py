"""Personal values at the door: what is stored of them, and how an event is known again whatever became of its key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from clearwell.application import forgetting, modelling, quarantining
from clearwell.ingest import door
from clearwell.ingest.door import Receipt
from clearwell.ledger.rejections import RejectionCode
from clearwell.values.encrypted import ERASED, PREFIX

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]

DECLARED = {"charge": {}, "business": {}, "network": {}, "customer": {}}
NAME_OF_CUSTOMER = {"name": {"personal": True, "subject": "customer"}}
EMAIL = {"email": {"personal": True}}


def flow_with(design_flow: str, **properties: Any) -> str:
    """The flow of the design, whose creation has more properties."""
    written = json.dumps({**DECLARED, **properties})
    return design_flow.replace("producer: charges\n", f"producer: charges\n    properties: {written}\n")


def person(customer: str | None = "cus_1", **values: Any) -> dict[str, Any]:
    """The properties of a creation about a customer."""
    return {"charge": "ch_1", "business": "acct_A", "network": "visa", "customer": customer, **values}


def stored(ledger: Ledger, name: str) -> list[str | None]:
    """A property as the segments hold it."""
    files = sorted((ledger.data / "log").glob("*.parquet"))
    frames = [pl.read_parquet(path) for path in files]
    column = f"property_{name}"
    return [value for frame in frames for value in (frame[column] if column in frame.columns else [])]


def forget(ledger: Ledger, subject: str) -> None:
    with ledger.open() as workspace:
        forgetting.forget(workspace, subject)


def accept(ledger: Ledger, flow: str) -> None:
    ledger.write_flow(flow)
    with ledger.open() as workspace:
        modelling.accept_model(workspace)


@pytest.fixture
def private(new_ledger: NewLedger, design_flow: str) -> Ledger:
    """A ledger whose creation carries a name of its customer and an email of nobody."""
    return new_ledger(flow_with(design_flow, **NAME_OF_CUSTOMER, **EMAIL))


def test_values_are_stored_encrypted(private: Ledger, creation: Make) -> None:
    """Personal values are encrypted, the subject's id is not; equal values of one subject look equal, and no others."""
    people = [("cus_1", "Alice"), ("cus_1", "Alice"), ("cus_1", "Bob"), ("cus_2", "Alice"), ("cus_2", None)]
    records = [
        creation(id=f"e{number}", properties=person(customer, name=name, email="a@example.com"))
        for number, (customer, name) in enumerate(people)
    ]
    assert private.ingest(*records).accepted == 5
    names = stored(private, "name")
    assert all(name.startswith(f"{PREFIX}1:") for name in names if name)
    assert (names[0] == names[1], len(set(names)), names[4]) == (True, 4, None)
    assert len(set(stored(private, "email"))) == 1
    assert stored(private, "customer") == [customer for customer, _ in people]


def test_a_value_that_looks_encrypted_is_encrypted(private: Ledger, creation: Make) -> None:
    """What a producer sends is text: also when it has the form of a stored value, or says that it is erased."""
    private.ingest(
        creation(properties=person(name=ERASED)), creation(id="e2", properties=person(name="personal:1:a:b"))
    )
    names = stored(private, "name")
    assert ERASED not in names
    assert all(name is not None and len(name.split(":")[2]) == 24 for name in names)


def test_limits_are_those_of_the_clear_value(private: Ledger, creation: Make) -> None:
    """512 bytes are allowed, although their stored form is longer; 513 are not."""
    receipt = private.ingest(
        creation(properties=person(name="x" * 512)), creation(id="e2", properties=person(name="x" * 513))
    )
    assert (receipt.accepted, receipt.quarantined) == (1, 1)
    (name,) = stored(private, "name")
    assert name is not None
    assert len(name) > 512


def test_a_value_without_a_subject_is_refused(private: Ledger, creation: Make) -> None:
    """Nobody could ask for its erasure; without the value, the subject may be absent."""
    receipt = private.ingest(
        creation(properties=person(None, name="Alice")), creation(id="e2", properties=person(None, email="a@b"))
    )
    assert (receipt.accepted, receipt.quarantined) == (1, 1)
    with private.open() as workspace:
        reason = quarantining.quarantined(workspace)[0].reason
    assert (reason.code, reason.field) == (RejectionCode.PROPERTY_MISSING.value, "properties.customer")
    assert stored(private, "name") == []


def test_a_model_without_personal_properties_makes_no_keys(ledger: Ledger, creation: Make) -> None:
    """Whoever has no personal properties has no file of keys; whoever has them, but no values, neither."""
    ledger.ingest(creation())
    assert not (ledger.data / "keys.sqlite").exists()


def test_refused_records_make_no_keys(private: Ledger, creation: Make) -> None:
    """A subject is known from its first event on, not from a record in quarantine."""
    private.ingest(creation(properties=person(name="Alice"), amounts={}))
    assert not (private.data / "keys.sqlite").exists()


def test_a_forgotten_subject_stays_forgotten(private: Ledger, creation: Make) -> None:
    """What arrives later about it is stored without its values; others are not concerned."""
    private.ingest(creation(properties=person(name="Alice")))
    forget(private, "cus_1")
    private.ingest(
        creation(id="e2", properties=person(name="Alice", email="a@b")),
        creation(id="e3", properties=person("cus_2", name="Alice")),
    )
    names, emails = stored(private, "name"), stored(private, "email")
    assert names[1] == ERASED
    assert names[2] not in (None, ERASED)
    assert emails[0] not in (None, ERASED)


def test_a_crash_after_the_key_is_harmless(private: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key without its event is used when the event comes again."""

    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(door, "write_segment", crash)
        with pytest.raises(Crash):
            private.ingest(creation(properties=person(name="Alice")))
    assert (private.data / "keys.sqlite").exists()
    assert private.ingest(creation(properties=person(name="Alice"))).accepted == 1
    assert private.fault_codes() == set()


# --- known again ------------------------------------------------------------------------------------------------------

SEEN_BEFORE = Receipt(duplicates=1)
CONFLICT = Receipt(quarantined=1)


def test_an_event_is_known_again(private: Ledger, creation: Make) -> None:
    """The same value is a duplicate, another one, or none, a conflict: in the log and within a batch."""
    record = creation(properties=person(name="Alice", email="a@b"))
    assert private.ingest(record, record).duplicates == 1
    assert private.ingest(record) == SEEN_BEFORE
    assert private.ingest(creation(properties=person(name="Bob", email="a@b"))) == CONFLICT
    assert private.ingest(creation(properties=person(email="a@b"))) == CONFLICT


def test_after_forgetting_an_event_is_known_again(private: Ledger, creation: Make) -> None:
    """An erased value equals any, but not none, and everything else still counts."""
    record = creation(properties=person(name="Alice"))
    late = creation(id="late", properties=person(name="Alice"))
    private.ingest(record)
    forget(private, "cus_1")
    private.ingest(late)
    assert [private.ingest(again) for again in (record, late)] == [SEEN_BEFORE, SEEN_BEFORE]
    assert private.ingest(creation(id="late", properties=person(name="Bob"))) == SEEN_BEFORE
    assert private.ingest(creation(id="late", properties=person())) == CONFLICT
    assert private.ingest(creation(properties=person("cus_2", name="Alice"))) == CONFLICT
    assert private.ingest({**record, "amounts": {"gross": 999}, "currency": "USD"}) == CONFLICT


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "it has become personal": ({"name": {}}, NAME_OF_CUSTOMER),
    "it is personal no more": (NAME_OF_CUSTOMER, {"name": {}}),
    "it was not declared": ({}, NAME_OF_CUSTOMER),
    "it is declared no more": (NAME_OF_CUSTOMER, {}),
    "it has another subject": ({"name": {"personal": True}}, NAME_OF_CUSTOMER),
}


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_changed_model_knows_an_event_again(
    new_ledger: NewLedger,
    design_flow: str,
    creation: Make,
    change: tuple[dict[str, Any], dict[str, Any]],
    forgotten: bool,
) -> None:
    """However the value was kept, and whether its key is still there, the same event is a duplicate."""
    before, after = change
    ledger = new_ledger(flow_with(design_flow, **before))
    record = creation(properties=person(name="Alice"))
    ledger.ingest(record)
    if forgotten:
        forget(ledger, "cus_1")
        forget(ledger, "Alice")
    accept(ledger, flow_with(design_flow, **after))
    assert ledger.ingest(record) == SEEN_BEFORE
    if not forgotten:
        assert ledger.ingest(creation(properties=person(name="Bob"))) == CONFLICT


def test_a_type_that_differs_is_a_conflict_however_many_properties_do(
    new_ledger: NewLedger, design_flow: str, creation: Make
) -> None:
    """The event type counts also where more properties are kept otherwise than a reason names."""
    flow = design_flow.replace("producer: disbursements", "producer: charges")
    moved = [f"p{number}" for number in range(6)]
    ledger = new_ledger(flow)
    values = {"charge": "ch_1", "business": "b", "network": "v", **dict.fromkeys(moved, "x")}
    money = {"currency": "USD", "amounts": {"gross": 1}}
    ledger.ingest(creation(properties=values, **money))
    again = "charge.again:\n    producer: charges\n    properties: [charge, business, network, " + ", ".join(moved)
    move = "]\n    moves: [{amount: gross, from: card_network_receivable, to: charge_undisbursed}]\n"
    accept(ledger, f"{flow}  {again}{move}")
    assert ledger.ingest(creation(properties=values, **money)) == SEEN_BEFORE
    assert ledger.ingest(creation(type="charge.again", properties=values, **money)) == CONFLICT


def test_a_refused_record_is_known_again_too(new_ledger: NewLedger, design_flow: str, creation: Make) -> None:
    """An event that the model would refuse now, for it lacks a property, is a duplicate, encrypted or erased."""
    ledger = new_ledger(flow_with(design_flow, **NAME_OF_CUSTOMER))
    record = creation(properties=person(name="Alice"))
    ledger.ingest(record)
    moves = "from: {account: card_network_receivable, network: region}, to: charge_undisbursed"
    accept(
        ledger,
        flow_with(design_flow, **NAME_OF_CUSTOMER, region={}).replace(
            "from: card_network_receivable, to: charge_undisbursed", moves
        ),
    )
    assert ledger.ingest(record) == SEEN_BEFORE
    assert ledger.ingest(creation(properties=person(name="Bob"))) == CONFLICT
    forget(ledger, "cus_1")
    assert ledger.ingest(record) == SEEN_BEFORE


def test_a_lost_file_of_keys_hides_nothing(private: Ledger, creation: Make) -> None:
    """Without its key a value equals none: the event sent again is a conflict that somebody sees."""
    record = creation(properties=person(name="Alice"))
    private.ingest(record)
    shutil.move(private.data / "keys.sqlite", private.folder)
    assert private.ingest(record) == CONFLICT
    (private.data / "keys.sqlite").unlink()
    shutil.move(private.folder / "keys.sqlite", private.data)
    assert private.ingest(record) == SEEN_BEFORE
