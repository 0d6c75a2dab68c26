"""People's SQL reads the ledger and nothing else, though all share one DuckDB."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Running, serving
from starlette.testclient import TestClient

from clearwell.application.cutting import CutRequest
from clearwell.application.querying import query
from clearwell.application.workspace import Workspace
from clearwell.bootstrap import open_producer
from clearwell.errors import UsageError
from clearwell.service.running import ServiceOptions

FLOW = """\
flow: wallets
owner: wallets-team
accounts:
  bank: {kind: reservoir, properties: []}
  wallet_balance: {kind: reservoir, properties: [wallet]}
events:
  wallet.topped_up:
    producer: wallets
    properties:
      wallet: {}
      email: {personal: true, subject: wallet}
    moves:
      - {amount: paid, from: bank, to: wallet_balance}
"""


@pytest.fixture(scope="module")
def wallets(new_ledger: Callable[..., Any]) -> Iterator[Running]:
    """A service whose events have a personal property."""
    ledger = new_ledger(FLOW)
    with serving(ledger, ServiceOptions(query_seconds=1.0, open_producer=open_producer)) as running:
        at = {"effective_at": "2026-01-02T03:04:05Z", "occurred_at": "2026-01-02T03:04:05Z"}
        properties = {"wallet": "w_1", "email": "ada@example.org"}
        event = {"type": "wallet.topped_up", "id": "evt_1", **at, "properties": properties}
        running.publish({**event, "currency": "USD", "amounts": {"paid": 100}})
        yield running


@pytest.fixture
def client(wallets: Running) -> TestClient:
    """An analyst of the wallets."""
    return wallets.client(wallets.key_of("analyst"))


def _asked(client: TestClient, sql: str) -> tuple[int, Any]:
    answer = client.post("/v1/query", content=json.dumps({"sql": sql}), headers={"Content-Type": "application/json"})
    return answer.status_code, answer.json().get("rows") if answer.status_code == 200 else answer.json()["error"][
        "code"
    ]


def test_personal_values_are_shown_again_and_again(client: TestClient) -> None:
    """The function that decrypts them is each query's own, so that a second one does not trip over the first."""
    for _ in range(3):
        assert _asked(client, "SELECT property_email FROM events") == (200, [["ada@example.org"]])
    functions = "SELECT count(*) FROM pg_catalog.pg_proc WHERE proname LIKE 'decrypted%'"
    assert _asked(client, functions)[0] in {200, 400}


@pytest.mark.parametrize("at_once", [6])
def test_queries_at_once_do_not_meet(wallets: Running, at_once: int) -> None:
    """Threads that ask at different cuts each see their own views."""
    assert sorted(asked_at_once(wallets.service.workspace, at_once)) == expected_at_once(at_once)


@pytest.mark.parametrize("at_once", [2, 6])
def test_queries_at_once_without_a_service(new_ledger: Callable[..., Any], creation: Any, at_once: int) -> None:
    """Each is confined, whoever was before it, and whoever comes after."""
    ledger = new_ledger()
    ledger.ingest(creation(properties={"charge": "ada@example.org", "business": "b", "network": "visa"}))
    with ledger.open() as workspace:
        for _ in range(3):
            found = asked_at_once(workspace, at_once, "property_charge")
            assert sorted(found) == expected_at_once(at_once)
        with pytest.raises(UsageError), query(workspace, CutRequest(), "SELECT * FROM glob('/*')") as answer:
            list(answer.rows)


def asked_at_once(workspace: Workspace, at_once: int, column: str = "property_email") -> list[Any]:
    """The rows that so many threads got, every second one at a cut before the first event."""
    found: list[Any] = []

    def ask(number: int) -> None:
        request = CutRequest("2026-02-01", str(number % 2))
        with query(workspace, request, f"SELECT count(*), max({column}) FROM events") as answer:
            found.append((number % 2, list(answer.rows)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def expected_at_once(at_once: int) -> list[Any]:
    """What they should get."""
    rows = {0: [(0, None)], 1: [(1, "ada@example.org")]}
    return sorted((number % 2, rows[number % 2]) for number in range(at_once))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{folder}/clearwell.yaml')",
        "SELECT * FROM '{folder}/clearwell.yaml'",
        "SELECT * FROM read_blob('{folder}/data/log/../keys.sqlite')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('events')",
        "SELECT * FROM checkpoint()",
        "SELECT * FROM force_checkpoint('projections')",
        "SELECT * FROM enable_logging()",
        "SELECT * FROM duckdb_logs()",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM duckdb_views()",
        "SELECT * FROM pragma_table_info('events')",
        "SELECT write_log('x')",
        "SELECT * FROM (SELECT WRITE_LOG('x') AS a) WHERE a IS NULL",
        "WITH x AS (SELECT * FROM Enable_Logging()) SELECT * FROM x",
        "SELECT (SELECT count(*) FROM duckdb_connections())",
        "SELECT getenv('HOME')",
        "SET enable_external_access = true",
        "SET GLOBAL memory_limit = '1TB'",
        "RESET lock_configuration",
        "PRAGMA database_list",
        "ATTACH '{folder}/data/keys.sqlite' AS k (TYPE sqlite)",
        "COPY events TO '{folder}/out.csv'",
        "CREATE TEMP TABLE x AS SELECT 1",
        "DELETE FROM projections.progress",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CHECKPOINT",
        "USE temp",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "CALL enable_logging()",
        "SELECT 1; SELECT 2",
        "EXPLAIN ANALYZE SELECT 1; COMMIT",
        "",
        "\x00",
        "SELECT \ud800",
    ],
)
def test_what_is_more_than_to_read_the_ledger_is_refused(wallets: Running, client: TestClient, sql: str) -> None:
    """Files, settings, other functions of DuckDB, and statements that change something."""
    status, code = _asked(client, sql.replace("{folder}", str(wallets.service.workspace.folder)))
    assert status in {400, 422}, code
    assert not list(Path(wallets.service.workspace.folder).glob("out*"))
    assert _asked(client, "SELECT count(*) FROM events") == (200, [[1]])


def test_views_of_another_query_are_not_there(wallets: Running, client: TestClient) -> None:
    """What a query has beside the shared tables is its connection's own."""
    with query(wallets.service.workspace, CutRequest(), "SELECT * FROM events") as answer:
        names = "SELECT view_name FROM (SELECT table_name AS view_name FROM information_schema.tables)"
        status, rows = _asked(client, f"{names} WHERE view_name = 'events'")
        assert (status, rows) == (200, [["events"]])
        assert len(list(answer.rows)) == 1


def test_a_long_query_is_stopped(client: TestClient) -> None:
    """After the time that the service gives it, and the next one runs."""
    sql = "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b WHERE a.range * b.range % 7 = 3"
    assert _asked(client, sql) == (400, "query_too_long")
    assert _asked(client, "SELECT 1") == (200, [[1]])


def test_a_writer_goes_on_beside_a_query(wallets: Running) -> None:
    """A query sees one state, and what is published meanwhile is applied all the same."""
    with query(wallets.service.workspace, CutRequest(), "SELECT count(*) FROM events") as answer:
        at = {"effective_at": "2026-01-02T03:04:05Z", "occurred_at": "2026-01-02T03:04:05Z"}
        event = {
            "type": "wallet.topped_up",
            "id": "evt_w",
            **at,
            "properties": {"wallet": "w_2", "email": "b@example.org"},
        }
        wallets.publish({**event, "currency": "USD", "amounts": {"paid": 1}})
        assert list(answer.rows) == [(1,)]


def test_numbers_that_are_none_and_nested_values(client: TestClient) -> None:
    """JSON has no NaN: it is null. Lists and structures stay what they are."""
    wide = f"{2**127 - 1}::HUGEINT"
    sql = f"SELECT 'nan'::DOUBLE, [1, 2], {{'a': 1}}, {wide}, DATE '2026-01-02', NULL"
    assert _asked(client, sql) == (200, [[None, [1, 2], {"a": 1}, 2**127 - 1, "2026-01-02", None]])


def test_an_error_while_rows_are_made_is_told(wallets: Running) -> None:
    """It is the query's, not ours."""
    with pytest.raises(UsageError, match="Conversion"):  # noqa: SIM117
        with query(wallets.service.workspace, CutRequest(), "SELECT ('x' || range)::INT FROM range(50_000)") as answer:
            list(answer.rows)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH a AS NOT MATERIALIZED (SELECT 1 AS x) SELECT * FROM a",
        "WITH a AS not /* so */ materialized (SELECT 1 AS x) SELECT * FROM a",
        "SELECT len(range(3))",
        "SELECT repeat('x', 3)",
        "SELECT list_resize([1], 9)",
    ],
)
def test_what_no_limit_stops_is_refused(client: TestClient, sql: str) -> None:
    """Neither plans that grow with every step nor values of any size get as far as to be tried."""
    answer = client.post("/v1/query", json={"sql": sql})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "query_function_not_allowed"), answer.text


def test_rows_of_a_range_are_allowed(client: TestClient) -> None:
    """In place of a table a range is rows, which are counted and interrupted; words in texts are no words."""
    sql = "SELECT count(*) AS n, ' not materialized ' AS t FROM range(3)"
    assert client.post("/v1/query", json={"sql": sql}).status_code == 200
