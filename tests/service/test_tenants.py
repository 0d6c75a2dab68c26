"""A tenant sees what is its own and nothing else, whatever it tries."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from served import Running, serving
from starlette.testclient import TestClient

FLOW = """\
flow: marketplace
owner: marketplace-team
accounts:
  card_network_receivable: {kind: reservoir, properties: [network]}
  charge_undisbursed: {kind: clearing, properties: [charge, business], clears_within: 10 minutes}
  business_balance: {kind: reservoir, properties: [business]}
  region_balance: {kind: reservoir, properties: [region, business]}
  platform_fees: {kind: reservoir, properties: []}
  payout_held: {kind: clearing, properties: [payout], clears_within: 1 day}
events:
  charge.creation:
    producer: charges
    properties: [charge, business, network, customer]
    moves:
      - {amount: gross, from: card_network_receivable, to: charge_undisbursed}
  charge.release:
    producer: disbursements
    moves:
      - {amount: net, from: charge_undisbursed, to: business_balance}
      - {amount: fee, from: charge_undisbursed, to: platform_fees}
  transfer.made:
    producer: transfers
    moves:
      - {amount: sent, from: business_balance, to: {account: business_balance, business: destination_business}}
  fee.refund:
    producer: transfers
    properties: [payout, business]
    moves:
      - {amount: refund, from: platform_fees, to: payout_held}
  fee.refunded:
    producer: transfers
    properties: [payout, business]
    moves:
      - {amount: refund, from: payout_held, to: platform_fees}
  bonus.paid:
    producer: transfers
    moves:
      - {amount: bonus, from: platform_fees, to: region_balance}
"""


def _event(kind: str, identity: str, properties: dict[str, str], **amounts: int) -> dict[str, Any]:
    at = {"effective_at": "2026-01-02T03:04:05Z", "occurred_at": "2026-01-02T03:04:05Z"}
    return {"type": kind, "id": identity, **at, "properties": properties, "currency": "USD", "amounts": amounts}


_VISA = {"network": "visa"}
_A, _B = ({"business": f"acct_{name}", "customer": f"cus_{name}", **_VISA} for name in "AB")
EVENTS = [
    _event("charge.creation", "evt_A1", {"charge": "ch_A1", **_A}, gross=1000),
    _event("charge.release", "evt_A2", {"charge": "ch_A1", "business": "acct_A"}, net=970, fee=30),
    _event("charge.creation", "evt_A3", {"charge": "ch_A2", "business": "acct_A"} | _VISA, gross=500),
    _event("charge.creation", "evt_B1", {"charge": "ch_B1", **_B}, gross=77_000),
    _event("charge.release", "evt_B2", {"charge": "ch_B1", "business": "acct_B"}, net=70_000, fee=7_000),
    _event("charge.creation", "evt_S1", {"charge": "ch_shared", "business": "acct_A"} | _VISA, gross=11),
    _event("charge.creation", "evt_S2", {"charge": "ch_shared", "business": "acct_B"} | _VISA, gross=66_600),
    _event("transfer.made", "evt_T1", {"business": "acct_A", "destination_business": "acct_B"}, sent=13),
    _event("transfer.made", "evt_T2", {"business": "acct_B", "destination_business": "acct_C"}, sent=8_888),
    _event("charge.creation", "evt_L1", {"charge": "ch_low", "business": "ACCT_A"} | _VISA, gross=44_400),
    _event("fee.refund", "evt_F1", {"payout": "po_1", "business": "acct_B"}, refund=5),
]  # fmt: skip

SECRETS = (
    "acct_B", "acct_C", "ACCT_A", "ch_B1", "cus_B", "cus_A", "visa", "evt_B1", "evt_B2", "evt_S2", "evt_T2", "evt_L1",
    "evt_F1", "77000", "70000", "66600", "8888", "44400", "7000", "po_1", "platform_fees", "card_network_receivable",
)  # fmt: skip
"""Whatever of this a tenant reads in an answer, it should not have."""


@pytest.fixture(scope="module")
def market(new_ledger: Callable[..., Any]) -> Iterator[Running]:
    """A service with the events of three businesses, one of whose names differs from another's by case only."""
    with serving(new_ledger(FLOW)) as running:
        running.publish(*EVENTS)
        yield running


@pytest.fixture
def tenant(market: Running) -> TestClient:
    """Business A."""
    return market.client(market.key_of("tenant", business="acct_A"))


def _leaks(text: str, *, asked: str = "") -> list[str]:
    return [secret for secret in SECRETS if secret in text and secret not in asked]


def test_balances_are_its_own(tenant: TestClient) -> None:
    """Available is what stands in its reservoirs, pending what is open in its clearing accounts, to the cent."""
    answer = tenant.get("/v1/own/balances")
    assert answer.status_code == 200
    assert answer.json()["balances"] == [{"currency": "USD", "available": 957, "pending": 511}]
    assert {item["account_type"] for item in answer.json()["account_types"]} == {
        "charge_undisbursed",
        "business_balance",
    }
    assert not _leaks(answer.text)


def test_every_other_path_is_refused(market: Running, tenant: TestClient) -> None:
    """Each path but `/v1/own`, and who one is, answers a tenant with 403 before it looks at anything else."""
    refused = 0
    for path, methods in market.app.openapi()["paths"].items():
        for method, described in methods.items():
            if path.startswith(("/v1/own/", "/v1/session")) or not described.get("security"):
                continue
            url = path.replace("{metric}", "clearing").replace("{number}", "1").replace("{event}", "evt_A1")
            answer = tenant.request(method.upper(), url, params={"account_type": "business_balance", "property": "a=b"})
            assert answer.status_code == 403, (method, path, answer.text)
            refused += 1
    assert refused > 20


def test_its_events_have_its_entries_only(tenant: TestClient) -> None:
    """All its events are told, each without the other side: no counterparty, no fee, no network, no customer."""
    answer = tenant.get("/v1/own/trace")
    assert [item["id"] for item in answer.json()["events"]] == ["evt_A1", "evt_A2", "evt_A3", "evt_S1", "evt_T1"]
    assert not _leaks(answer.text)
    for event in answer.json()["events"]:
        assert "amounts" not in event
        assert all(entry["properties"]["business"] == "acct_A" for entry in event["entries"])


def test_an_event_between_two_tenants_is_halved(market: Running, tenant: TestClient) -> None:
    """Of a transfer each business sees its own side."""
    other = market.client(market.key_of("tenant", business="acct_B"))
    own = {item["id"]: item for item in tenant.get("/v1/own/trace").json()["events"]}["evt_T1"]
    theirs = {item["id"]: item for item in other.get("/v1/own/trace").json()["events"]}["evt_T1"]
    assert [entry["amount"] for entry in own["entries"]] == [-13]
    assert [entry["amount"] for entry in theirs["entries"]] == [13]
    assert own["properties"] == {"business": "acct_A"}
    assert theirs["properties"] == {"business": "acct_B"}


@pytest.mark.parametrize(
    "value",
    [
        "business=acct_B",
        "business=ACCT_A",
        "business=acct_",
        "business=%",
        "charge=ch_B1",
        "charge=ch_low",
        "charge=ch_A1' OR '1'='1",
        "charge=ch_A1') OR true --",
        "charge=$effective_at",
        "charge=ch_A1\x1facct_B",
        "charge=*",
    ],
)
def test_values_of_others_find_nothing(tenant: TestClient, value: str) -> None:
    """Another's value, another case, a pattern and SQL are values like any other, and none of its own has them."""
    answer = tenant.get("/v1/own/trace", params={"property": value})
    assert answer.status_code == 200, answer.text
    assert answer.json()["events"] == []
    assert answer.json()["accounts"] == []
    assert not _leaks(answer.text)


def test_an_id_that_two_tenants_use_gives_each_its_own(tenant: TestClient) -> None:
    """The same charge id at another business stays there."""
    answer = tenant.get("/v1/own/trace", params={"property": "charge=ch_shared"})
    assert [item["id"] for item in answer.json()["events"]] == ["evt_S1"]
    assert [item["moved"] for item in answer.json()["accounts"]] == [11]
    assert not _leaks(answer.text)


@pytest.mark.parametrize(
    "name", ["network", "customer", "destination_business", "region", "payout", "Business", "no_such", ""]
)
def test_other_properties_cannot_be_asked_for(tenant: TestClient, name: str) -> None:
    """A property that its accounts do not have, or that nobody has, is refused, and the refusal names its own only.

    `region` is a property of an account type that has `business` too, and so of accounts that it might have.
    """
    answer = tenant.get("/v1/own/trace", params={"property": f"{name}=acct_B"})
    assert answer.status_code == (200 if name == "region" else 400), answer.text
    assert not _leaks(answer.text, asked="acct_B")
    assert "customer" not in answer.text.replace(f"'{name}'", "").replace(f"{name}=", "")


def test_a_counterparty_cannot_be_guessed(tenant: TestClient) -> None:
    """Whether a transfer went to a business cannot be found out by asking for it beside one's own value."""
    found = tenant.get("/v1/own/trace", params={"property": ["business=acct_A"]}).json()["events"]
    guessed = tenant.get("/v1/own/trace", params={"property": "business=acct_B"}).json()
    assert "evt_T1" in {item["id"] for item in found}
    assert guessed["events"] == []
    assert tenant.get("/v1/own/trace", params={"property": ["business=acct_A", "business=acct_B"]}).status_code == 400


def test_all_values_of_a_key_count(market: Running) -> None:
    """A key that is bound to two values sees no account that has only one of them, and none of a type without both."""
    bound = market.client(market.key_of("tenant", business="acct_A", region="EU"))
    assert bound.get("/v1/own/balances").json()["balances"] == []
    assert bound.get("/v1/own/trace").json()["events"] == []
    nothing = market.client(market.key_of("tenant", customer="cus_A"))
    assert nothing.get("/v1/own/balances").json()["balances"] == []
    assert nothing.get("/v1/own/trace").json()["events"] == []


def test_a_key_bound_to_what_looks_like_sql(market: Running) -> None:
    """Bound values are data."""
    for value in ("' OR '1'='1", "x\x00y", "acct_A' --", "$account_type", "\x1f"):
        client = market.client(market.key_of("tenant", business=value))
        answers = [client.get(path) for path in ("/v1/own/balances", "/v1/own/trace")]
        assert not any(_leaks(item.text) for item in answers)
        for answer in answers:
            assert answer.status_code == 200, answer.text
            assert not answer.json().get("balances")
            assert not answer.json().get("events")


def test_parameters_do_not_widen_what_is_bound(tenant: TestClient) -> None:
    """What is bound is the key's, and no parameter, header or body says otherwise."""
    tried = {
        "business": "acct_B",
        "properties": '{"business": "acct_B"}',
        "bound": "acct_B",
        "property": "business=acct_B",
    }
    answer = tenant.get("/v1/own/balances", params=tried, headers={"X-Business": "acct_B"})
    assert answer.json()["balances"] == [{"currency": "USD", "available": 957, "pending": 511}]
    assert not _leaks(answer.text)


def test_the_past_is_its_own_too(tenant: TestClient) -> None:
    """At every cut of the log the answers hold nothing of others."""
    for known_at in range(12):
        for path in ("/v1/own/balances", "/v1/own/trace"):
            answer = tenant.get(path, params={"known_at": str(known_at), "at": "2026-02-01"})
            assert answer.status_code == 200, answer.text
            assert not _leaks(answer.text)


def test_the_cursor_of_another_key_is_refused(market: Running, tenant: TestClient) -> None:
    """A cursor counts for the key that it was given to, and opens no path."""
    page = market.client().get("/v1/open-accounts", params={"limit": 1}).json()["next_cursor"]
    assert page
    assert tenant.get("/v1/open-accounts", params={"limit": 1, "cursor": page}).status_code == 403
    reader = market.client(market.key_of("reader"))
    refused = reader.get("/v1/open-accounts", params={"limit": 1, "cursor": page})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "cursor_invalid")
    forged = base64.urlsafe_b64encode(json.dumps([1, "", None, [], None]).encode()).decode().rstrip("=")
    assert "acct_B" not in tenant.get("/v1/own/trace", params={"cursor": forged}).text


def test_an_etag_of_another_key_tells_nothing(market: Running, tenant: TestClient) -> None:
    """Two keys never have the same ETag, so that none can ask whether another's answer is as it thinks."""
    cut = {"known_at": "11", "at": "2026-02-01"}
    other = market.client(market.key_of("tenant", business="acct_B")).get("/v1/own/balances", params=cut)
    answer = tenant.get("/v1/own/balances", params=cut, headers={"If-None-Match": other.headers["etag"]})
    assert answer.status_code == 200
    again = tenant.get("/v1/own/balances", params=cut, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
