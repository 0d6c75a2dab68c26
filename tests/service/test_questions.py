"""Every question of the command line has a path, and its answers are of one cut, by pages or whole."""

from __future__ import annotations

import base64
import inspect
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from served import Running, serving
from starlette.testclient import TestClient

from clearwell.application.questions import SORTS, OpenFilter
from clearwell.project import Project
from clearwell.service.api.asking import PRESENT_SECONDS
from clearwell.service.api.questions import OpenParameters

ARROW = {"Accept": "application/vnd.apache.arrow.stream"}
MakeEvent = Callable[..., dict[str, Any]]

PATHS = {
    "accept_model": "POST /v1/model/accept",
    "arrivals": "GET /v1/arrivals",
    "balances": "GET /v1/balances",
    "check": "GET /v1/check",
    "checkpoint": "POST /v1/checkpoint",
    "completeness": "POST /v1/completeness",
    "differences": "GET /v1/completeness/{number}/differences",
    "evaluate": "POST /v1/evaluations",
    "expectations": "GET /v1/expectations",
    "history": "GET /v1/history",
    "ingest": "POST /v1/events",
    "measure": "GET /v1/metrics/{metric}",
    "open_accounts": "GET /v1/open-accounts",
    "prove": "GET /v1/proof/{event}",
    "open_incident": "POST /v1/incidents",
    "close_incident": "POST /v1/incidents/{name}/close",
    "incidents": "GET /v1/incidents",
    "attribute": "POST /v1/incidents/{name}/attribute",
    "withdraw": "POST /v1/incidents/{name}/withdraw",
    "make_key": "POST /v1/keys",
    "keys": "GET /v1/keys",
    "revoke_key": "DELETE /v1/keys/{name}",
    "audit": "GET /v1/audit",
    "quality": "GET /v1/quality",
    "quarantined": "GET /v1/quarantine",
    "query": "POST /v1/query",
    "retry_quarantine": "POST /v1/quarantine/retry",
    "scores": "GET /v1/quality",
    "status": "GET /v1/status",
    "trace": "GET /v1/trace",
}
NOT_QUESTIONS = {"backup", "compact", "compute_again", "forget", "rebuild", "seal", "verify"}
"""What works on the ledger as a whole: jobs, and commands."""


def _charges(creation: MakeEvent, first: int, last: int) -> list[dict[str, Any]]:
    return [
        creation(
            id=f"evt_{number}",
            properties={"charge": f"ch_{number}", "business": f"acct_{number % 3}", "network": "visa"},
            amounts={"gross": {"value": 1000 + number % 5, "currency": "USD"}},
        )
        for number in range(first, last)
    ]


@pytest.fixture(scope="module")
def shop(new_ledger: Callable[..., Any], creation: MakeEvent) -> Iterator[Running]:
    """A service with twenty-three open charges."""
    with serving(new_ledger()) as running:
        running.publish(*_charges(creation, 0, 23))
        yield running


@pytest.fixture
def client(shop: Running) -> TestClient:
    """An administrator of the shop."""
    return shop.client()


def test_every_question_of_a_project_has_a_path(shop: Running) -> None:
    """What `Project` can be asked can be asked over HTTP, and a new method does not go by unnoticed."""
    methods = {name for name, _ in inspect.getmembers(Project, inspect.isfunction) if not name.startswith("_")}
    assert methods == set(PATHS) | NOT_QUESTIONS
    described = shop.app.openapi()["paths"]
    for said in PATHS.values():
        method, path = said.split(" ")
        assert method.lower() in described[path], said


def test_every_filter_of_open_accounts_is_a_parameter() -> None:
    """A field of `OpenFilter` that nobody can ask by would be found here."""
    named = {"properties": "property", "older_than_seconds": "older_than", "least_money": "min_money"}
    named |= {"most_money": "max_money", "after": "cursor", "total": "cursor"}
    assert {named.get(name, name) for name in OpenFilter.__dataclass_fields__} == set(OpenParameters.model_fields)


@pytest.mark.parametrize("sort", list(SORTS))
def test_pages_are_of_one_cut_while_data_arrives(open_service: Running, creation: MakeEvent, sort: str) -> None:
    """Page by page, in every order, come the accounts of the first page's cut, each once, whatever is published."""
    open_service.publish(*_charges(creation, 0, 23))
    client = open_service.client()
    whole = client.get("/v1/open-accounts", params={"sort": sort}).json()
    cut = {"at": whole["cut"]["effective_at"], "known_at": str(whole["cut"]["sequence"])}
    found, cursor, number = list[Any](), "", 100
    while cursor is not None:
        page = client.get("/v1/open-accounts", params={"sort": sort, "limit": 5, "cursor": cursor}).json()
        assert page["total"] == 23
        assert page["cut"]["sequence"] == 23
        found += page["accounts"]
        cursor = page["next_cursor"]
        open_service.publish(*_charges(creation, number, number + 3))
        number += 3
    again = client.get("/v1/open-accounts", params={"sort": sort, **cut}).json()["accounts"]
    assert [item["properties"]["charge"] for item in found] == [item["properties"]["charge"] for item in again]
    assert [{**item, "age_seconds": 0} for item in found] == [{**item, "age_seconds": 0} for item in whole["accounts"]]
    assert client.get("/v1/open-accounts").json()["total"] == 23 + number - 100


def test_pages_of_balances(client: TestClient) -> None:
    """The pages of balances make the whole."""
    asked = {"account_type": "charge_undisbursed", "at": "2026-02-01", "known_at": "23"}
    whole = client.get("/v1/balances", params=asked).json()["balances"]
    found, cursor = list[Any](), ""
    while cursor is not None:
        page = client.get("/v1/balances", params={**asked, "limit": 7, "cursor": cursor}).json()
        found, cursor = found + page["balances"], page["next_cursor"]
    assert found == whole
    assert len(found) == 23


def test_a_cursor_of_another_question_is_refused(client: TestClient) -> None:
    """Changed filters, a changed order, a torn or an invented cursor are refused, with the reason."""
    cursor = client.get("/v1/open-accounts", params={"limit": 2, "sort": "money"}).json()["next_cursor"]
    content = json.loads(base64.urlsafe_b64decode(cursor + "==="))
    forged = [
        cursor[:-3],
        "a",
        "é",
        _written([*content[:3], [1], None]),
        _written([*content[:3], [1, 2, "x", "y", ["z"]], None]),
        _written([*content[:2], ["now", "now", 1], *content[3:]]),
        _written([2, *content[1:]]),
        _written({"a": 1}),
        "[" * 5_000,
    ]
    for text in forged:
        answer = client.get("/v1/open-accounts", params={"limit": 2, "sort": "money", "cursor": text})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor_invalid"), text
    for changed in ({"sort": "age"}, {"sort": "money", "currency": "USD"}, {"sort": "money", "at": "2026-02-01"}):
        answer = client.get("/v1/open-accounts", params={"limit": 2, **changed, "cursor": cursor})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor_invalid"), changed
    injected = _written([*content[:3], [-(10**9), 2, "x' OR true --", "$currency", "z"], None])
    asked = {"limit": 2, "sort": "money"}
    plain, answer = (client.get("/v1/open-accounts", params={**asked, "cursor": text}) for text in ("", injected))
    charges = [[row["properties"]["charge"] for row in item.json()["accounts"]] for item in (plain, answer)]
    assert charges[0] == charges[1]
    assert len(charges[0]) == 2


def _written(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def test_an_answer_of_a_named_cut_stays(shop: Running, client: TestClient) -> None:
    """It has a strong ETag, and who has it is told so without the answer being made again."""
    asked = {"at": "2026-02-01", "known_at": "23"}
    for path in ("/v1/status", "/v1/open-accounts", "/v1/quality", "/v1/metrics/clearing", "/v1/model"):
        first = client.get(path, params=asked)
        assert first.status_code == 200
        assert first.headers["etag"].startswith('"')
        again = client.get(path, params=asked, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(path, params=asked).content == first.content
        other = client.get(path, params={**asked, "at": "2026-02-02"}, headers={"If-None-Match": first.headers["etag"]})
        assert other.status_code == 200


def test_an_answer_of_the_present_stays_for_a_moment(open_service: Running, creation: MakeEvent) -> None:
    """Its ETag is weak: another one once something is applied, or after some seconds."""
    open_service.publish(creation())
    client = open_service.client()
    while time.time() % PRESENT_SECONDS > PRESENT_SECONDS - 3:  # Not right before it ends.
        client.get("/v1/status")
    tag = client.get("/v1/status").headers["etag"]
    assert tag.startswith("W/")
    assert client.get("/v1/status", headers={"If-None-Match": tag}).status_code == 304
    open_service.publish(creation(id="evt_9", properties={"charge": "ch_9", "business": "acct_A", "network": "visa"}))
    assert client.get("/v1/status", headers={"If-None-Match": tag}).status_code == 200


def test_who_publishes_can_read_it(open_service: Running, creation: MakeEvent) -> None:
    """With `known_at` of an acknowledgement the answer has what was acknowledged, however soon it is asked."""
    client = open_service.client()
    for number in range(5):
        body = json.dumps(_charges(creation, number, number + 1)[0])
        headers = {"Content-Type": "application/x-ndjson"}
        last = client.post("/v1/events", content=body, headers=headers).json()["last_sequence"]
        answer = client.get("/v1/open-accounts", params={"known_at": str(last)})
        assert answer.json()["total"] == number + 1
    beyond = client.get("/v1/status", params={"known_at": str(last + 1)})
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (400, "cut_unknown")


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/v1/status", "account_types"),
        ("/v1/open-accounts?sort=money", "accounts"),
        ("/v1/balances?account_type=charge_undisbursed", "balances"),
        ("/v1/quality?period=all", "nodes"),
        ("/v1/metrics/clearing?by=business", "clearing"),
        ("/v1/trace?property=charge=ch_1", "events"),
    ],
)
def test_arrow_has_the_rows_of_json(client: TestClient, path: str, member: str) -> None:
    """The same rows in the same order, money in whole numbers."""
    asked = path + ("&" if "?" in path else "?") + "at=2026-02-01&known_at=23"
    rows = client.get(asked).json()[member]
    answer = client.get(asked, headers=ARROW)
    assert answer.headers["content-type"] == ARROW["Accept"]
    assert json.loads(answer.headers["clearwell-cut"])["sequence"] == 23
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.num_rows == len(rows)
    for name in set(table.column_names) & {"balance", "turnover", "open_money", "currency", "account_type", "state"}:
        assert [None if item is None else str(item) for item in table[name].to_pylist()] == [
            None if row[name] is None else str(row[name]) for row in rows
        ]
    if "properties" in table.column_names and member != "events":
        assert [dict(item) for item in table["properties"].to_pylist()] == [row["properties"] for row in rows]


def test_money_beyond_53_bits_is_exact(open_service: Running, creation: MakeEvent) -> None:
    """Whole numbers in JSON, as many digits as they have."""
    value = 2**62 + 1
    open_service.publish(creation(amounts={"gross": {"value": value, "currency": "USD"}}))
    open_service.publish(
        creation(
            id="evt_2",
            properties={"charge": "ch_2", "business": "acct_A", "network": "visa"},
            amounts={"gross": {"value": value, "currency": "USD"}},
        )
    )
    client = open_service.client()
    (row,) = [item for item in client.get("/v1/status").json()["account_types"] if item["kind"] == "clearing"]
    assert row["open_money"] == 2 * value
    table = pa.ipc.open_stream(client.get("/v1/status", headers=ARROW).content).read_all()
    assert 2 * value in [int(item) for item in table["open_money"].to_pylist() if item is not None]


def test_an_answer_that_is_too_large_is_refused(new_service: Callable[..., Running], creation: MakeEvent) -> None:
    """Before its first byte goes out, so that no answer breaks off."""
    from clearwell.service.running import ServiceOptions

    small = new_service(ServiceOptions(answer_bytes=10_000))
    small.publish(*_charges(creation, 0, 200))
    client = small.client()
    for answer in (
        client.get("/v1/open-accounts", headers=ARROW),
        client.post("/v1/query", json={"sql": "SELECT * FROM range(100_000)"}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "answer_too_large")


def test_quarantine_over_http(open_service: Running, creation: MakeEvent) -> None:
    """A refused record is listed, mended and taken in, while the service goes on publishing."""
    client = open_service.client()
    broken = json.dumps(creation(amounts=...))
    client.post("/v1/events", content=broken, headers={"Content-Type": "application/x-ndjson"})
    listed = client.get("/v1/quarantine").json()
    (record,) = listed["records"]
    assert listed["waiting"] == {record["code"]: 1}
    body = {"numbers": [record["number"]], "corrected": creation()}
    retried = client.post("/v1/quarantine/retry", json=body).json()
    assert (retried["accepted"], retried["released"]) == (1, [record["number"]])
    open_service.publish(creation(id="evt_2", properties={"charge": "ch_2", "business": "acct_A", "network": "visa"}))
    assert client.get("/v1/open-accounts").json()["total"] == 2
    reader = open_service.client(open_service.key_of("reader"))
    assert reader.post("/v1/quarantine/retry", json={}).status_code == 403


def test_there_are_no_answers_before_there_are_events(open_service: Running) -> None:
    """A new project has nothing to ask about, and says so."""
    answer = open_service.client().get("/v1/trace", params={"property": "charge=ch_1"})
    assert answer.status_code in {200, 404}
    assert open_service.client().get("/v1/history").json() == {"periods": []}


def test_numbers_beyond_what_is_kept_are_refused(client: TestClient) -> None:
    """They are the caller's mistake, and no server error."""
    assert client.post("/v1/quarantine/retry", json={"numbers": [-(2**100)]}).status_code == 422
    for path in (f"/v1/proof/%23{2**100}", f"/v1/status?known_at={2**100}", f"/v1/trace?event=%23{2**100}"):
        assert client.get(path).status_code in {400, 404}, path
