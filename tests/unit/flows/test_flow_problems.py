"""For each problem code one bad file that has it, with the exact line and the whole message."""

# ruff: noqa: E501 (a message is easier to compare in one piece)

from __future__ import annotations

import pytest

from clearwell.flows.document import LARGEST_FILE_BYTES
from clearwell.flows.load import load_model
from clearwell.flows.problems import PROBLEM_CODES, Problem, quoted

# (code, what to replace in the example, by what, the whole message after the file name)
CANARIES: list[tuple[str, str, str, str]] = [
    ("file_too_large", "flow:", "#" * LARGEST_FILE_BYTES + "\nflow:",
     f"1: file: expected a file of at most {LARGEST_FILE_BYTES} bytes, found 1049474 characters"),
    ("yaml_invalid", "    kind: clearing", "    kind: [clearing",
     "8: file: expected YAML that can be read, found a mistake: expected ',' or ']', but got ':' (while parsing a flow sequence that begins at line 7)"),
    ("yaml_invalid", "kind: clearing", "kind: &kind clearing",
     "7: file: expected every value written out, found the anchor &kind"),
    ("yaml_invalid", "kind: clearing", "kind: *kind",
     "7: file: expected every value written out, found the alias *kind"),
    ("yaml_invalid", "kind: clearing", "kind: !!str clearing",
     "7: file: expected values without YAML tags, found 'tag:yaml.org,2002:str'"),
    ("yaml_invalid", "accounts:\n", "accounts:\n  <<: {}\n",
     "5: file: expected a name as the key of a mapping, found '<<'"),
    ("yaml_invalid", "kind: clearing", "kind: [[[[[[[[[[[[1]]]]]]]]]]]]",
     "7: file: expected at most 12 levels, found deeper nesting"),
    ("yaml_invalid", "events:\n", "---\nevents:\n", "12: file: expected one document per file, found another one"),
    ("key_repeated", "    kind: clearing\n", "    kind: clearing\n    kind: reservoir\n",
     "8: file: expected each key once in a mapping, found 'kind' again, after line 7"),
    ("field_unknown", "producer: charges", "producer: charges\n    producr: x",
     "15: event charge.creation: expected one of producer, arrives_within, properties, amounts, moves, description, "
     "found 'producr' (did you mean 'producer'?)"),
    ("field_missing", "    producer: charges\n", "", "13: event charge.creation: expected the field 'producer', found nothing"),
    ("field_missing", "owner: payments-engineering", "owner:",
     "2: flow card_payments: expected the field 'owner', found nothing"),
    ("field_missing", "amount: net, ", "", "21: event charge.release: expected the field 'amount', found nothing"),
    ("field_missing", "to: platform_fees", "to: {account: card_network_receivable, network: {}}",
     "22: event charge.release: expected the field 'constant', found nothing"),
    ("value_invalid", "kind: clearing", "kind: clearance",
     "7: account charge_undisbursed: expected the kind 'clearing' or 'reservoir', found 'clearance' "
     "(did you mean 'clearing'?)"),
    ("value_invalid", "properties: [charge, business]", "properties: charge",
     "8: account charge_undisbursed: expected a list of names under 'properties', found 'charge'"),
    ("value_invalid", "owner: payments-engineering", "owner: [a]",
     "2: flow card_payments: expected a text of at most 10000 characters, found a list"),
    ("value_invalid", "producer: charges", "producer: charges\n    amounts: {gross: {signed: 'true'}}",
     "15: event charge.creation: expected 'signed: true' or 'signed: false', found 'true'"),
    ("name_invalid", "flow: card_payments", "flow: Card",
     "1: flow: expected a name of at most 63 small letters, digits and underscores that begins with a letter, "
     "found 'Card'"),
    ("name_invalid", "charge.creation:", "charge..creation:",
     "13: event 'charge..creation': expected a name such as 'charge.creation': names joined by dots, "
     "found 'charge..creation'"),
    ("name_reserved", "[network]", "[account]",
     "5: account card_network_receivable: expected a property with another name than 'account', which names the "
     "account type in a move, found 'account'"),
    ("property_declared_twice", "[charge, business]", "[charge, business, charge]",
     "8: account charge_undisbursed: expected each property once, found 'charge' again"),
    ("duration_invalid", "10 minutes", "10 minuets",
     "9: account charge_undisbursed: expected a duration such as '10 minutes', '3 days', '2 business days' or "
     "'learned', found '10 minuets'"),
    ("duration_invalid", "5 minutes", "learned",
     "15: event charge.creation: expected a deadline of fixed length such as '5 minutes', found 'learned'"),
    ("calendar_unknown", "10 minutes", "2 business days\n    calendar: XX",
     "10: account charge_undisbursed: expected the code of a country such as 'BR', or of one of its subdivisions "
     "such as 'US-NY', found 'XX'"),
    ("clears_within_missing", "    clears_within: 10 minutes", "",
     "6: account charge_undisbursed: expected 'clears_within' on a clearing account type, such as '10 minutes' or "
     "'learned', found nothing"),
    ("clears_within_forbidden", "properties: []}", "properties: [], clears_within: 1 day}",
     "11: account platform_fees: expected no 'clears_within' on a reservoir, which need not clear, found '1 day'"),
    ("account_unknown", "from: charge_undisbursed, to: platform", "from: charge_undisbursd, to: platform",
     "22: event charge.release: expected an account declared in some flow, found 'charge_undisbursd' "
     "(did you mean 'charge_undisbursed'?)"),
    ("property_unknown", "to: business_balance", "to: {account: business_balance, busines: x}",
     "21: event charge.release: expected a property of account business_balance (business), found 'busines' "
     "(did you mean 'business'?)"),
    ("property_unsupplied", "producer: charges", "producer: charges\n    properties: [network, charge]",
     "18: event charge.creation: expected the property 'business', which the accounts of this move need, in its list "
     "of properties, found only network, charge"),
    ("value_invalid", "producer: charges", "producer: charges\n    properties:\n      {network: , charge: {}, business: {subject: charge}}",
     "16: event charge.creation: expected a subject only beside 'personal: true' of the property 'business', found 'charge'"),
    ("personal_subject_invalid", "producer: charges",
     "producer: charges\n    properties: {network: {}, charge: {}, business: {}, email: {personal: true, subject: custmer}, customer: {}}",
     "15: event charge.creation: expected another property of this event, kept in clear, that says whose 'email' it is, "
     "found 'custmer' (did you mean 'customer'?)"),
    ("personal_subject_invalid", "producer: charges",
     "producer: charges\n    properties: {network: {}, charge: {}, business: {}, email: {personal: true, subject: email}}",
     "15: event charge.creation: expected another property of this event, kept in clear, that says whose 'email' it is, "
     "found 'email'"),
    ("personal_property_in_account", "producer: charges",
     "producer: charges\n    properties: {network: {}, charge: {}, business: {personal: true}}",
     "15: event charge.creation: expected a personal property that names no account: use a pseudonymous id there, "
     "found 'business' in account charge_undisbursed"),
    ("personal_property_in_clear", "  charge.creation:\n    producer: charges",
     "  charge.noted: {producer: notes, properties: {network: {}, business: {}, email: {personal: true}}, "
     "moves: [{amount: x, from: card_network_receivable, to: business_balance}]}\n"
     "  charge.creation:\n    producer: charges\n    properties: [network, charge, business, email]",
     "14: event charge.creation: expected 'email' to be personal here as in event charge.noted (flows/card.yaml:13), "
     "found it in clear"),
    ("amount_moved_nowhere", "producer: charges", "producer: charges\n    amounts: {gros: {}}",
     "15: event charge.creation: expected an amount that one of its moves moves, found 'gros' (did you mean 'gross'?)"),
    ("move_to_itself", "to: platform_fees", "to: charge_undisbursed",
     "22: event charge.release: expected a move between two different accounts, found 'charge_undisbursed' on both "
     "sides"),
    ("clearing_account_never_filled", "to: charge_undisbursed", "to: platform_fees",
     "6: account charge_undisbursed: expected a move of some flow to it, since it must be filled before it can clear, "
     "found none"),
    ("clearing_account_never_drained", "from: charge_undisbursed", "from: card_network_receivable",
     "6: account charge_undisbursed: expected a move of some flow from it, since money could never leave it, found none"),
    ("account_unused", "to: platform_fees", "to: business_balance",
     "11: warning: account platform_fees: expected a move of some flow from or to it, found none"),
]  # fmt: skip

TWICE = [
    (
        "flow_declared_twice",
        "flow: other",
        "flow: card_payments",
        "1: flow card_payments",
        "flows/card.yaml:1",
    ),
    ("account_owned_twice", "till:", "platform_fees:", "4: account platform_fees", "flows/card.yaml:11"),
    (
        "event_declared_twice",
        "other.paid:",
        "charge.release:",
        "6: event charge.release",
        "flows/card.yaml:18",
    ),
]
OTHER = """\
flow: other
owner: stores
accounts:
  till: {kind: reservoir}
events:
  other.paid:
    producer: stores
    moves: [{amount: paid, from: till, to: business_balance}]
"""


@pytest.mark.parametrize(("code", "old", "new", "message"), CANARIES, ids=[canary[0] for canary in CANARIES])
def test_canary(card_payments: str, code: str, old: str, new: str, message: str) -> None:
    """One mistake gives one problem, with the code, the line and the message it should have."""
    assert old in card_payments
    model, problems = load_model({"flows/card.yaml": card_payments.replace(old, new)})
    assert [str(problem) for problem in problems] == [f"flows/card.yaml:{message}"]
    assert problems[0].code == code
    assert (model is not None) == (problems[0].severity == "warning")


@pytest.mark.parametrize("case", TWICE, ids=[case[0] for case in TWICE])
def test_declared_twice(card_payments: str, case: tuple[str, str, str, str, str]) -> None:
    """What two files declare is a problem in the second, which names the first."""
    code, old, new, place, first = case
    text = OTHER.replace(old, new).replace("from: till", "from: platform_fees" if "platform" in new else "from: till")
    model, problems = load_model({"flows/card.yaml": card_payments, "flows/other.yaml": text})
    assert model is None
    expected = f"flows/other.yaml:{place}: expected one declaration among all flows, found another one at {first}"
    assert [(problem.code, str(problem)) for problem in problems] == [(code, expected)]


def test_every_code_has_a_canary() -> None:
    """No code is documented without a file that has it."""
    assert {canary[0] for canary in (*CANARIES, *TWICE)} == PROBLEM_CODES.keys()


def test_unlisted_code_is_our_own_mistake() -> None:
    """A problem outside the closed list fails at once."""
    with pytest.raises(AssertionError, match="no_such_code"):
        Problem("a.yaml", 1, "no_such_code", "file", "x", "y")


def test_several_problems_come_in_order_of_lines(card_payments: str) -> None:
    """All mistakes of a file are reported together, by line."""
    text = card_payments.replace("kind: clearing", "kind: clearin").replace("to: platform_fees", "to: platform_fes")
    text = text.replace("5 minutes", "5 minuts")
    _, problems = load_model({"flows/card.yaml": text})
    assert [(problem.line, problem.code) for problem in problems] == [
        (7, "value_invalid"),
        (15, "duration_invalid"),
        (22, "account_unknown"),
    ]


def test_long_values_are_shortened() -> None:
    """A message never carries a whole large value."""
    assert quoted("x" * 5_000) == repr("x" * 77 + "...")
