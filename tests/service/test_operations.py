"""What whoever runs a service sees of it: health, readiness, figures, the log, traces; and what keeps it from harm."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from clearwell.application import health
from clearwell.application.publications import Publication
from clearwell.errors import StorageError, UsageError
from clearwell.service import logs
from clearwell.service.api.app import create_app
from clearwell.service.running import ServiceOptions, running
from clearwell.service.serving import ServeOptions

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "operations.md"
NDJSON = {"content-type": "application/x-ndjson"}


def parts(answer: Any) -> dict[str, str]:
    """Of each part that is not ready its code."""
    return {part["name"]: part["code"] for part in answer.json()["parts"] if not part["ready"]}


# --- health -----------------------------------------------------------------------------------------------------------


def test_healthz_needs_no_key(service: Any) -> None:
    """Anybody may ask whether the process is alive."""
    assert service.client().get("/healthz").json() == {"status": "alive"}


def test_readyz_is_ready_when_everything_is(service: Any) -> None:
    """Every part is ready, and nobody needs a key to see it."""
    assert service.service.keeper.has_followed or service.service.keeper.reached(0, 1) is not None
    while not service.service.keeper.has_followed:
        pass
    answer = service.client().get("/readyz")
    assert (answer.status_code, parts(answer)) == (200, {})
    assert [part["name"] for part in answer.json()["parts"]] == ["service", "lease", "log", "projections", "catalog"]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("lease", {"lease": "writer_lease_lost"}),
        ("log", {"log": "log_not_writable"}),
        ("disk", {"log": "disk_full"}),
        ("projections", {"projections": "projections_failed"}),
        ("behind", {"projections": "projections_behind"}),
        ("catalog", {"catalog": "catalog_unusable", "lease": "catalog_unusable"}),
        ("stopping", {"service": "service_stopping"}),
    ],
)
def test_readyz_says_what_is_not_ready(
    service: Any, monkeypatch: pytest.MonkeyPatch, broken: str, expected: dict[str, str]
) -> None:
    """503, with the code of each part that cannot do its work, and no secrets or paths."""
    running_service = service.service
    while not running_service.keeper.has_followed:
        pass
    if broken == "lease":
        with running_service.workspace.catalog.write() as connection:
            connection.exec_driver_sql("UPDATE writer_lease SET fencing_number = fencing_number + 1")
    elif broken == "log":
        monkeypatch.setattr(running_service.publisher, "_error", StorageError("log_not_writable", "/secret/path"))
    elif broken == "disk":
        monkeypatch.setattr(health, "LEAST_FREE_BYTES", 1 << 62)
    elif broken == "projections":
        monkeypatch.setattr(running_service.keeper, "error", StorageError("projections_failed", "/secret/path"))
    elif broken == "behind":
        monkeypatch.setattr(health, "MOST_LAG_SECONDS", -1.0)
    elif broken == "catalog":

        def refuse() -> None:
            raise StorageError("catalog_unusable", "/secret/path")

        monkeypatch.setattr(running_service.workspace.catalog, "read", refuse)
    else:
        monkeypatch.setattr(running_service.stopping, "has_begun", True)
        found = health.readiness(
            running_service.workspace, running_service.publisher, running_service.keeper, stopping=True
        )
        assert {part.name: part.code for part in found if not part.ready} == expected
        return
    answer = service.client().get("/readyz")
    assert (answer.status_code, parts(answer)) == (503, expected)
    assert "secret" not in answer.text


# --- figures ----------------------------------------------------------------------------------------------------------


def published(service: Any, *records: dict[str, Any] | bytes) -> Any:
    lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in records]
    return service.admin.post("/v1/events", content=b"\n".join(lines) + b"\n", headers=NDJSON)


def figures(service: Any) -> dict[str, float]:
    """The samples of `/metrics`, each under its name with its labels."""
    rows = [line.rsplit(" ", 1) for line in service.client().get("/metrics").text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in rows}


def test_what_is_published_is_counted(service: Any, creation: Make) -> None:
    """Accepted, duplicate and refused records; requests by path template; batches and their steps."""
    published(service, creation(), creation(id="evt_3"), b"{}")
    published(service, creation())
    assert service.service.keeper.reached(2, 60)
    service.client().get("/v1/nothing/of/the/kind")
    found = figures(service)
    assert found["clearwell_accepted_events_total"] == 2
    assert found["clearwell_duplicate_events_total"] == 1
    assert found["clearwell_refused_records_total"] == 1
    assert found['clearwell_requests_total{method="POST",path="/v1/events",status="200"}'] == 2
    assert found['clearwell_requests_total{method="GET",path="(unknown)",status="404"}'] == 1
    assert found["clearwell_batch_seconds_count"] == 2
    assert found["clearwell_commit_seconds_count"] == found["clearwell_sync_seconds_count"] == 1
    assert found["clearwell_fold_lag_events"] == found["clearwell_waiting_requests"] == 0
    assert found["clearwell_log_segments"] == found["clearwell_log_files"] == 1
    assert sum(value for name, value in found.items() if name.startswith("clearwell_quarantine_waiting")) == 1
    account = '{account_type="charge_undisbursed",currency="USD",flow="card_payments"}'
    assert found[f"clearwell_overdue_accounts{account}"] == 1
    assert found[f"clearwell_open_money_minor_units{account}"] == 2000


def test_scores_are_those_of_the_last_whole_day(service: Any, creation: Make) -> None:
    """An evaluation gives each node a score, of a day that was over at its cut."""
    published(service, creation(effective_at="2026-02-28T10:00:00Z", occurred_at="2026-02-28T10:00:00Z"))
    assert service.service.keeper.reached(1, 60)
    while service.service.keeper.lag().events:
        pass
    service.service.jobs.ask("evaluate")
    while not any(job.name == "evaluate" and job.last_ended_at for job in service.service.jobs.reports()):
        pass
    found = figures(service)
    assert found['clearwell_score_ratio{currency="USD",kind="flow",name="card_payments"}'] == 0.0


def test_figures_that_cannot_be_read_leave_the_others(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that does not answer costs its own figures only."""

    def refuse() -> None:
        raise StorageError("catalog_unusable", "the catalog cannot be read")

    monkeypatch.setattr(service.service.workspace.catalog, "read", refuse)
    found = figures(service)
    assert (found["clearwell_figures_ready"], "clearwell_log_files" in found) == (0, False)
    assert found["clearwell_accepted_events_total"] == 0


def test_two_services_count_apart(service: Any, new_ledger: Any, creation: Make) -> None:
    """Each has a registry of its own."""
    published(service, creation())
    other = new_ledger()
    with other.open() as workspace, running(workspace, ServiceOptions()) as second:
        assert b"clearwell_accepted_events_total 0.0" in second.metrics.shown()
    assert figures(service)["clearwell_accepted_events_total"] == 1


def test_every_figure_is_explained(service: Any, creation: Make) -> None:
    """The guide has a row for each figure of `/metrics`, under its name, and for no other."""
    published(service, creation(), b"{}")
    assert service.service.keeper.reached(1, 60)
    service.client().get("/healthz")
    text = service.client().get("/metrics").text
    families = set(re.findall(r"^# TYPE (clearwell_\w+) ", text, re.MULTILINE))
    shown = {name for name in families if not name.endswith("_created")}
    listed = set(re.findall(r"^\| `(clearwell_\w+)`", GUIDE.read_text(encoding="utf-8"), re.MULTILINE))
    assert shown == listed
    endings = (
        "_(total|seconds|bytes|events|records|requests|accounts|units|ratio|segments|files|info|ready|running|failures)"
    )
    assert [name for name in sorted(shown) if not re.search(endings + "$", name)] == []


@pytest.mark.parametrize(("role", "status"), [(None, 401), ("producer", 403), ("reader", 200)])
def test_metrics_beyond_this_machine_need_a_key(ledger: Ledger, role: Any, status: int) -> None:
    """Where others can reach the service, only a key that reads sees the figures."""
    from clearwell.application.access import make_key

    with ledger.open() as workspace, running(workspace, ServiceOptions(metrics_need_key=True)) as found:
        secret = make_key(workspace, "k", role, made_by="test").secret if role else ""
        headers = {"Authorization": f"Bearer {secret}"} if role else {}
        assert TestClient(create_app(found), headers=headers).get("/metrics").status_code == status


# --- the log ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the service writes to its log, as lines of JSON."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.set_up("json", stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_the_log_names_requests_and_no_secrets(service: Any, creation: Make, written: io.StringIO) -> None:
    """A line per change or error, with who and what; no body, secret or query value; none for what figures tell."""
    client = service.admin
    body = json.dumps(creation(id="evt_private"))
    client.post("/v1/events?atomic=true", content=body, headers=NDJSON)
    client.get("/v1/jobs?word=hidden")
    client.post("/v1/jobs/evaluate/run?word=hidden", headers={"x-request-id": "abc-1"})
    client.get("/v1/unknown?word=hidden")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    requests = [line for line in lines if line["message"] == "request"]
    fields = [(line["method"], line["path"], line["status"], line.get("principal")) for line in requests]
    assert fields == [("POST", "/v1/jobs/{name}/run", 202, "administrator"), ("GET", "(unknown)", 404, None)]
    assert requests[0]["request_id"] == "abc-1"
    assert requests[0]["seconds"] >= 0
    for hidden in ("evt_private", "hidden", service.administrator.secret, "atomic"):
        assert hidden not in written.getvalue()


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "line\\n"])
def test_a_request_id_that_cannot_be_is_replaced(service: Any, given: str) -> None:
    """What could harm a log is not taken over; an id is answered all the same."""
    answer = service.client().get("/healthz", headers={"x-request-id": given})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def test_a_mistake_is_told_in_the_log_and_not_in_the_answer(
    service: Any, monkeypatch: pytest.MonkeyPatch, written: io.StringIO
) -> None:
    """The answer is a plain 500 with the request's id; the log has the trace under the same id."""

    def mistaken() -> None:
        raise ZeroDivisionError("our mistake")

    monkeypatch.setattr(service.service.jobs, "reports", mistaken)
    answer = service.admin.get("/v1/jobs", headers={"x-request-id": "id-7"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "service_failed")
    assert (answer.headers["x-request-id"], "our mistake" in answer.text) == ("id-7", False)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    (line,) = [line for line in lines if "trace" in line]
    assert (line["level"], line["request_id"]) == ("error", "id-7")
    assert "ZeroDivisionError: our mistake" in line["trace"]


def test_a_failing_job_is_told_with_its_code(service: Any, written: io.StringIO) -> None:
    """A line at the level error, with the code."""
    service.service.jobs.ask("back_up")
    while "back_up" not in written.getvalue():
        pass
    (line,) = [json.loads(line) for line in written.getvalue().splitlines()]
    assert (line["level"], line["job"], line["code"]) == ("error", "back_up", "backup_folder_missing")


def test_text_lines_are_one_line_each() -> None:
    """A message cannot forge a line of its own."""
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.set_up("text", stream)
        logs.log(logging.INFO, "one\ntwo", name_given="a b\nc", nothing=None)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(r'info    one\ntwo name_given="a b\nc"')


# --- limits -----------------------------------------------------------------------------------------------------------


def test_answers_are_data_and_not_kept(service: Any) -> None:
    """Every answer, errors too, says that it is no page, belongs in no frame, and is not to be stored."""
    for path in ("/healthz", "/v1/jobs", "/nothing"):
        headers = service.client().get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers


async def asked(
    app: Any, secret: str, bodies: list[Any], path: str = "/v1/events"
) -> tuple[int, dict[str, str], bytes]:
    """Send a request whose body comes in these pieces, each awaited when it is a coroutine; the answer."""
    headers = [(b"authorization", f"Bearer {secret}".encode()), (b"content-type", b"application/x-ndjson")]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "scheme": "http",
        "server": ("localhost", 80), "client": ("127.0.0.1", 1), "root_path": "",
    }  # fmt: skip
    sent: list[dict[str, Any]] = []
    coming = iter(bodies)

    async def receive() -> dict[str, Any]:
        piece = next(coming, None)
        if piece is None:
            await asyncio.Event().wait()
        if asyncio.iscoroutine(piece):
            piece = await piece
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = next(item for item in sent if item["type"] == "http.response.start")
    body = b"".join(item.get("body", b"") for item in sent)
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body


def test_a_body_that_takes_too_long_is_refused(ledger: Ledger) -> None:
    """Whoever sends a body byte by byte is cut off at the limit, and the connection closed."""
    from clearwell.application.access import make_key

    with ledger.open() as workspace, running(workspace, ServiceOptions(body_seconds=0.05)) as found:
        secret = make_key(workspace, "k", "producer", made_by="test").secret
        status, headers, body = asyncio.run(asked(create_app(found), secret, [b"{"]))
        assert (status, json.loads(body)["error"]["code"]) == (408, "body_too_slow")
        assert headers["connection"] == "close"
        assert found.held.bytes == 0


def test_bodies_together_are_bounded(ledger: Ledger) -> None:
    """More bytes than all requests together may hold are refused, and none are held afterwards."""
    from clearwell.application.access import make_key

    with ledger.open() as workspace, running(workspace, ServiceOptions(held_bytes=10)) as found:
        secret = make_key(workspace, "k", "producer", made_by="test").secret
        status, _headers, body = asyncio.run(asked(create_app(found), secret, [b"12345", b"67890", b"1"]))
        assert (status, json.loads(body)["error"]["code"]) == (429, "too_much_held")
        assert found.held.bytes == 0


def test_the_parts_of_a_packed_body_are_bounded(service: Any, creation: Make) -> None:
    """A gzip body of as many members as may be is taken in; one of more is refused, and the answer says how many."""

    def sent(members: int) -> Any:
        body = gzip.compress(json.dumps(creation()).encode()) + (members - 1) * gzip.compress(b"")
        return service.admin.post("/v1/events", content=body, headers={**NDJSON, "content-encoding": "gzip"})

    assert sent(1_000).json()["accepted"] == 1
    refused = sent(1_001)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "body_damaged")
    assert "at most 1000 members" in refused.json()["error"]["message"]


def test_a_body_that_still_comes_is_refused_at_the_stop(service: Any) -> None:
    """A request whose body is not here when the service stops is refused, and so is one that comes later."""
    found = service.service

    async def stopped() -> bytes:
        asyncio.get_running_loop().call_soon(found.stopping.begin)
        await asyncio.Event().wait()
        return b""

    status, headers, body = asyncio.run(asked(service.app, service.administrator.secret, [b"{", stopped()]))
    assert (status, json.loads(body)["error"]["code"]) == (503, "service_stopping")
    assert headers["connection"] == "close"
    assert service.client().get("/healthz").status_code == 503


def test_live_streams_end_at_the_stop(service: Any) -> None:
    """A stream of events that would go on for ever ends, as a whole answer, when the service stops."""
    found = service.service

    async def forever() -> Any:
        yield b"data: 1\n\n"
        asyncio.get_running_loop().call_soon(found.stopping.begin)
        await asyncio.Event().wait()

    async def live() -> StreamingResponse:
        return StreamingResponse(forever(), media_type="text/event-stream")

    service.app.add_api_route("/live", live, methods=["POST"])
    scope_body = [b""]

    async def whole() -> tuple[int, dict[str, str], bytes]:
        return await asyncio.wait_for(asked_whole(service.app, scope_body), 60)

    status, _headers, body = asyncio.run(whole())
    assert (status, body) == (200, b"data: 1\n\n")


async def asked_whole(app: Any, bodies: list[bytes]) -> tuple[int, dict[str, str], bytes]:
    """As `asked`, of a body that is whole."""
    sent: list[dict[str, Any]] = []
    coming = iter(bodies)
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "path": "/live", "raw_path": b"/live", "query_string": b"", "headers": [], "scheme": "http",
        "server": ("localhost", 80), "client": ("127.0.0.1", 1), "root_path": "",
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        piece = next(coming, None)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[-1]["more_body"] is False
    return sent[0]["status"], {}, b"".join(item.get("body", b"") for item in sent)


# --- traces -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported() -> InMemorySpanExporter:
    """Where the spans go; OpenTelemetry can be set up once in a process."""
    exporter = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def test_a_request_is_followed_to_its_fold(exported: InMemorySpanExporter, service: Any, creation: Make) -> None:
    """The request goes on from the producer's span, the batch from the request, the fold from the batch."""
    exported.clear()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = json.dumps(creation())
    assert service.admin.post("/v1/events", content=body, headers={**NDJSON, "traceparent": parent}).is_success
    assert service.service.keeper.reached(1, 60)

    def spans(name: str) -> Any:
        return [span for span in exported.get_finished_spans() if span.name == name]

    while not spans("clearwell.fold"):
        pass
    (request,), (batch,), (fold,) = spans("POST /v1/events"), spans("clearwell.batch"), spans("clearwell.fold")
    (commit,) = spans("clearwell.commit")
    assert f"{request.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert [link.context.span_id for link in batch.links] == [request.context.span_id]
    assert commit.parent.span_id == batch.context.span_id
    assert [link.context.span_id for link in fold.links] == [batch.context.span_id]
    assert dict(request.attributes)["http.response.status_code"] == 200


# --- where it may listen ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (ServeOptions(host="0.0.0.0"), "tls_missing"),
        (ServeOptions(host="::"), "tls_missing"),
        (ServeOptions(host="example.com"), "tls_missing"),
        (ServeOptions(tls_key=Path("key.pem")), "tls_incomplete"),
        (ServeOptions(tls_certificate=Path("no.pem"), tls_key=Path("no.pem")), "tls_file_missing"),
    ],
)
def test_keys_cross_no_network_in_clear(options: ServeOptions, code: str) -> None:
    """Beyond this machine it takes TLS, or somebody who says that a proxy has it."""
    with pytest.raises(UsageError) as caught:
        options.require_safe()
    assert caught.value.code == code


def test_where_it_may_listen() -> None:
    """Loopback by any name; elsewhere behind a proxy, and then nothing counts as loopback any more."""
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        ServeOptions(host=host).require_safe()
        assert ServeOptions(host=host).is_loopback
        assert not ServeOptions(host=host, insecure_behind_proxy=True).is_loopback
    ServeOptions(host="0.0.0.0", insecure_behind_proxy=True).require_safe()


def test_a_publisher_without_an_observer_works(ledger: Ledger, creation: Make) -> None:
    """Measuring is not a part of publishing."""
    from clearwell.application.keeping import keeping
    from clearwell.application.publishing import Publisher

    with ledger.open() as workspace, keeping(workspace):
        publisher = Publisher(workspace)
        publisher.start()
        try:
            body = json.dumps(creation()).encode()
            assert publisher.publish(Publication(body, "ndjson", "test")).result(60).accepted == 1
        finally:
            publisher.stop()
