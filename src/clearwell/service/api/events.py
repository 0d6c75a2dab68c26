"""`POST /v1/events`: publishing. The answer comes when what was accepted is durable."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from clearwell.application.access import Principal
from clearwell.application.publications import Publication
from clearwell.errors import ClearwellError, UsageError
from clearwell.service.api.bodies import as_lines, body_of, unpacked
from clearwell.service.api.problems import ProblemAnswer, problem
from clearwell.service.api.schemas import responses
from clearwell.service.api.security import Publishing, principal_of
from clearwell.service.awaiting import awaited
from clearwell.service.running import Service

router = APIRouter(tags=["events"])

_FORMS: dict[str, str] = {
    "": "ndjson",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/json": "json",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.arrow.file": "arrow",
}
_LARGE = 64 << 10
_LONGEST_KEY = 255


class RefusedRecord(BaseModel):
    """A record that was refused: its place in the request, from 0 (of NDJSON: its line), and why."""

    index: int
    code: str
    field: str
    expected: str
    found: str


class PublishAnswer(BaseModel):
    """What became of the records; what was accepted is durable. `refused` has the first 1,000 of the refused ones."""

    accepted: int
    duplicates: int
    refused_count: int
    first_sequence: int | None
    last_sequence: int | None
    refused: list[RefusedRecord]


_EXAMPLE = (
    '{"type": "charge.creation", "id": "evt_1", "effective_at": "2026-01-02T03:04:05Z", '
    '"occurred_at": "2026-01-02T03:04:05Z", "properties": {"charge": "ch_1", "business": "acct_A", "network": "visa"}, '
    '"currency": "USD", "amounts": {"gross": 1000}}'
)
_BODY = {
    "required": True,
    "content": {
        "application/x-ndjson": {"schema": {"type": "string"}, "example": _EXAMPLE},
        "application/json": {"schema": {"type": "array", "items": {"type": "object"}}, "example": f"[{_EXAMPLE}]"},
        "application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


_ANSWER = {
    "accepted": 1, "duplicates": 0, "refused_count": 0, "first_sequence": 41, "last_sequence": 41, "refused": [],
}  # fmt: skip


@router.post(
    "/v1/events",
    response_model=PublishAnswer,
    responses={
        **responses(PublishAnswer, _ANSWER, of_cut=False),
        422: {
            "model": PublishAnswer | ProblemAnswer,
            "description": "With `atomic`, nothing was taken in; see the answer.",
        },
    },
    summary="Publish events",
    openapi_extra={"requestBody": _BODY},
)
async def publish(
    request: Request,
    principal: Publishing,
    atomic: Annotated[bool, Query(description="Take all records in, or none.")] = False,
    idempotency_key: Annotated[
        str,
        Header(max_length=_LONGEST_KEY, description="Names the request, so that it can be sent again as a whole."),
    ] = "",
) -> Response:
    """Publish events: NDJSON, a JSON array or an Arrow IPC stream, as they are or in gzip or zstd.

    Every record is judged on its own; refused ones wait in quarantine. The same event again is a
    duplicate, and counted.
    """
    return await _published(request, principal, idempotency_key, atomic=atomic)


async def _published(request: Request, principal: Principal, key: str, *, atomic: bool) -> Response:
    service: Service = request.app.state.service
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    form = _FORMS.get(kind)
    if form is None:
        expected = "application/x-ndjson, application/json or application/vnd.apache.arrow.stream"
        raise UsageError("form_unknown", f"expected a Content-Type of {expected}, found {kind!r}")
    body = await body_of(request, service.options.body_bytes)
    encoding = request.headers.get("content-encoding", "")
    if encoding or form == "json" or len(body) > _LARGE:
        body = await run_in_threadpool(_plain, body, encoding, form, service.options.unpacked_bytes)
    publication = Publication(
        body,
        "arrow" if form == "arrow" else "ndjson",
        principal.who,
        whole=atomic,
        event_types=principal.event_types,
        request_key=key,
    )
    outcome = await awaited(service.publisher.publish(publication))
    content = {name: getattr(outcome, name) for name in PublishAnswer.model_fields}
    content["refused"] = [item.__dict__ for item in outcome.refused]
    headers = {"Idempotency-Replayed": "true"} if outcome.repeated else {}
    status = 422 if atomic and outcome.refused_count else 200
    return Response(json.dumps(content, ensure_ascii=False), status, headers, "application/json")


_PATH = "/v1/events"
_ROUTE = SimpleNamespace(path=_PATH)
_BEARER = b"bearer "


class Direct:
    """Answers a plain request to publish without the layers that other paths need: they cost more than publishing.

    Plain is a key's request without parameters. Anything else is passed on, and answered by the same function.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        headers = dict(scope["headers"]) if self._may_be_plain(scope) else {}
        key = headers.get(b"idempotency-key", b"").decode("latin-1")
        given = headers.get(b"authorization", b"")
        if given[: len(_BEARER)].lower() != _BEARER or len(key) > _LONGEST_KEY:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        scope["route"] = _ROUTE
        try:
            secret = given[len(_BEARER) :].decode("latin-1").strip()
            principal = await principal_of(request, HTTPAuthorizationCredentials(scheme="Bearer", credentials=secret))
            request.state.principal = principal
            principal.require("publish")
            response = await _published(request, principal, key, atomic=False)
        except ClearwellError as error:
            response = problem(error)
        await response(scope, receive, send)

    @staticmethod
    def _may_be_plain(scope: Scope) -> bool:
        return (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and scope["path"] == _PATH
            and not scope["query_string"]
        )


def _plain(body: bytes, encoding: str, form: str, most: int) -> bytes:
    plain = unpacked(body, encoding, most)
    return as_lines(plain) if form == "json" else plain
