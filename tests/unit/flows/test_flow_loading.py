"""Good flow files become the model they say; stored texts give the same model again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clearwell.errors import DataError, UsageError
from clearwell.flows.document import LARGEST_FILE_BYTES
from clearwell.flows.load import load_model, read_flow_files
from clearwell.flows.model import AccountReference, AmountRule, Model, Move, PersonalProperty, PropertyValue
from clearwell.values.durations import BusinessDays, FixedDuration


def loaded(**texts: str) -> Model:
    """Return the model of texts without problems."""
    model, problems = load_model({f"flows/{name}.yaml": text for name, text in texts.items()})
    assert problems == []
    assert model is not None
    return model


def test_example_of_the_design(card_payments: str) -> None:
    """The design's example loads with kinds, windows, inferred amounts and implied properties."""
    model = loaded(card=card_payments)
    assert tuple(model.account_types) == (
        "card_network_receivable",
        "charge_undisbursed",
        "business_balance",
        "platform_fees",
    )
    undisbursed = model.account_types["charge_undisbursed"]
    assert (undisbursed.kind, undisbursed.flow, undisbursed.owner) == (
        "clearing",
        "card_payments",
        "payments-engineering",
    )
    assert (undisbursed.clears_within, undisbursed.line) == (FixedDuration(600, "10 minutes"), 6)
    creation, release = model.event_types.values()
    assert creation.arrives_within == FixedDuration(300, "5 minutes")
    assert creation.required_properties == creation.properties == ("network", "charge", "business")
    assert release.amounts == (AmountRule("net", False), AmountRule("fee", False))
    charge, business = PropertyValue("property", "charge"), PropertyValue("property", "business")
    assert release.moves[1] == Move(
        "fee",
        AccountReference("charge_undisbursed", (charge, business)),
        AccountReference("platform_fees", ()),
    )
    assert model.property_names == ("business", "charge", "network")
    assert model.amount_names == ("fee", "gross", "net")
    assert model.flow("card_payments").text == card_payments


def test_personal_properties(card_payments: str) -> None:
    """A mapping says of each property whether it is personal, and whose; it is a closed list like any other."""
    mapping = (
        "{charge: {}, business: , customer: {personal: false}, email: {personal: true}, "
        "cardholder_name: {personal: true, subject: customer}, network: {}}"
    )
    model = loaded(card=card_payments.replace("charges\n", f"charges\n    properties: {mapping}\n"))
    creation, release = model.event_types.values()
    assert creation.properties == ("charge", "business", "customer", "email", "cardholder_name", "network")
    assert creation.personal == (PersonalProperty("email", None), PersonalProperty("cardholder_name", "customer"))
    assert release.personal == ()
    assert model.personal_names == ("cardholder_name", "email")


def test_mapping_constant_signed_and_closed_properties(card_payments: str, payouts: str) -> None:
    """A mapping, a constant, a signed amount, an own owner and a list of properties mean what they say."""
    model = loaded(card=card_payments, payouts=payouts)
    created, paid = model.event_types["payout.created"], model.event_types["payout.paid"]
    assert created.moves[0].source.values == (PropertyValue("property", "source_business"),)
    assert created.required_properties == ("source_business", "payout")
    assert created.properties == ("payout", "source_business", "note")
    assert created.amounts == (AmountRule("paid", True),)
    assert paid.moves[0].destination.values == (PropertyValue("constant", "main"),)
    assert paid.required_properties == ("payout",)
    assert model.account_types["bank"].owner == "banking"
    assert model.account_types["payout_in_transit"].clears_within == BusinessDays(2, "BR", "2 business days")


def test_scalars_stay_text(card_payments: str) -> None:
    """Norway is a calendar and not false, and a number is a constant's text."""
    text = card_payments.replace("clears_within: 10 minutes", "clears_within: 1 business day\n    calendar: NO")
    text = text.replace("to: platform_fees", "to: {account: platform_fees, ledger: {constant: 007}}")
    text = text.replace(
        "platform_fees:    {kind: reservoir, properties: []}",
        "platform_fees: {kind: reservoir, properties: [ledger]}",
    )
    model = loaded(card=text)
    assert str(model.account_types["charge_undisbursed"].clears_within) == "1 business day (NO)"
    assert model.event_types["charge.release"].moves[1].destination.values == (PropertyValue("constant", "007"),)


def test_version_depends_on_flow_names_and_texts_only(card_payments: str, payouts: str) -> None:
    """Other file names and another order give the same version; another comment gives another one."""
    first = loaded(a=card_payments, b=payouts)
    second = loaded(b=card_payments, a=payouts)
    changed = loaded(a=card_payments + "# a comment\n", b=payouts)
    assert first.version == second.version != changed.version
    assert [flow.name for flow in second.flows] == ["card_payments", "payouts"]


def test_version_is_stable(card_payments: str) -> None:
    """The version of the example is what it was when it was first published, since logs refer to it."""
    assert loaded(card=card_payments).version == "067a362c726841016ba0c4c4684dcf55aacb099ceb82d9f90da79779a23ae298"


def test_loading_again_gives_an_equal_model(card_payments: str, payouts: str) -> None:
    """A model loaded from the texts that a model carries is equal to it."""
    model = loaded(card=card_payments, payouts=payouts)
    again, problems = load_model({flow.file: flow.text for flow in model.flows})
    assert (again, problems) == (model, [])


@given(st.text() | st.text(alphabet="a:-[]{}#&*!|>'\"%@`,?\n \t\\x0U"))
@example("flow: &a x")
@example('a: "\\UFFFFFFFF"')
@example("%YAML 9.9\n---\nflow: x")
@example("flow: a\x00b")
@example("\ud800")
@example("[" * 2_000)
@example("? {flow: x}\n: y")
def test_any_text_gives_problems_and_never_an_exception(text: str) -> None:
    """No text makes loading fail; a text that is no flow has at least one problem, in this file."""
    model, problems = load_model({"flows/any.yaml": text})
    assert model is None
    assert {problem.file for problem in problems} == {"flows/any.yaml"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_file_never_fails(card_payments: str, data: st.DataObject) -> None:
    """A good file with any piece cut out or doubled loads or has problems, and never raises."""
    start = data.draw(st.integers(0, len(card_payments)))
    end = data.draw(st.integers(start, min(start + 60, len(card_payments))))
    piece = card_payments[start:end] * data.draw(st.sampled_from([0, 2]))
    model, problems = load_model({"flows/card.yaml": card_payments[:start] + piece + card_payments[end:]})
    assert (model is None) == any(problem.severity == "error" for problem in problems)


def test_files_are_read_sorted(tmp_path: Path, card_payments: str, payouts: str) -> None:
    """Flow files are read by name, with either ending, and nothing else in the folder is."""
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "b.yaml").write_text(card_payments)
    (folder / "a.yml").write_bytes(b"\xef\xbb\xbf" + payouts.encode())
    (folder / "notes.txt").write_text("not a flow")
    (folder / "c.yaml").mkdir()
    assert list(read_flow_files(folder).items()) == [
        ("flows/a.yml", payouts),
        ("flows/b.yaml", card_payments),
    ]


def test_missing_files_are_a_wrong_use(tmp_path: Path) -> None:
    """A folder that is absent or has no flow files is refused with its path."""
    for folder, code in ((tmp_path / "none", "flow_folder_missing"), (tmp_path, "flow_files_missing")):
        with pytest.raises(UsageError, match=str(folder)) as raised:
            read_flow_files(folder)
        assert raised.value.code == code


@pytest.mark.parametrize("content", [b"flow: \xff", b"#" * (LARGEST_FILE_BYTES + 1)])
def test_unreadable_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is not UTF-8, or larger than the limit, is refused by name."""
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.yaml") as raised:
        read_flow_files(tmp_path)
    assert raised.value.code == "flow_file_unreadable"
