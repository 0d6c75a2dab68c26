"""Models and quarantine under `/v1`: what is in force, what is wrong with it, and what people decide about both."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from clearwell.application import modelling, quarantining, sealing
from clearwell.application.cutting import known_at
from clearwell.application.telling import check_as_json, cut_as_json, quarantined_as_json
from clearwell.flows.draw import draw_flow
from clearwell.flows.model import Flow, Model
from clearwell.service.api import cursors
from clearwell.service.api.answers import json_answer
from clearwell.service.api.asking import Asked, CursorParameter
from clearwell.service.api.cursors import Cursor
from clearwell.service.api.schemas import (
    AcceptedAnswer,
    CheckAnswer,
    ModelAnswer,
    QuarantineAnswer,
    RetriedAnswer,
    responses,
)
from clearwell.service.api.security import Approving, Reading
from clearwell.service.running import Service

router = APIRouter(tags=["models and quarantine"])

_MOST_RECORDS = 1_000
_VERSION = "5f0e7c…"


@router.get(
    "/v1/model", summary="The flows in force", responses=responses(ModelAnswer, {"version": _VERSION, "flows": []})
)
def model(asked: Asked) -> Response:
    """The model in force at the cut: every flow as data, as its text, and as a Mermaid flowchart."""

    def make() -> dict[str, Any]:
        known = known_at(asked.service.workspace, asked.request)
        flows = [_flow(known.model, item) for item in known.model.flows]
        return {"cut": cut_as_json(known.cut), "version": known.model.version, "flows": flows}

    return asked.answer(make)


def _flow(model: Model, flow: Flow) -> dict[str, Any]:
    accounts = [
        {
            "name": item.name,
            "kind": item.kind,
            "owner": item.owner,
            "properties": list(item.properties),
            "clears_within": None if item.clears_within is None else str(item.clears_within),
        }
        for item in flow.accounts
    ]
    events = [
        {
            "name": item.name,
            "producer": item.producer,
            "arrives_within": None if item.arrives_within is None else str(item.arrives_within),
            "properties": list(item.properties),
            "required_properties": list(item.required_properties),
            "amounts": [asdict(rule) for rule in item.amounts],
            "moves": [asdict(move) for move in item.moves],
        }
        for item in flow.events
    ]
    named = {"name": flow.name, "owner": flow.owner, "description": flow.description}
    return {**named, "accounts": accounts, "events": events, "text": flow.text, "mermaid": draw_flow(model, flow.name)}


_CHECK_EXAMPLE = {
    "ok": True, "version": _VERSION, "in_force": _VERSION, "problems": [], "equations": [], "changes": [],
    "consequences": [], "personal": [],
}  # fmt: skip


@router.get("/v1/check", summary="Prove the flows", responses=responses(CheckAnswer, _CHECK_EXAMPLE, of_cut=False))
def check(request: Request, _principal: Reading) -> Response:
    """What can be proved about the project's flow files without data, and what a change would mean for the log."""
    return json_answer(check_as_json(modelling.check(request.app.state.service.workspace)))


@router.post(
    "/v1/model/accept",
    summary="Put the flows in force",
    responses=responses(AcceptedAnswer, {"version": _VERSION}, of_cut=False),
)
def accept(request: Request, principal: Approving) -> Response:
    """Put the project's flow files in force, whatever changes for open accounts. Publishing waits meanwhile."""
    service: Service = request.app.state.service
    with service.publisher.paused():
        accepted = modelling.accept_model(service.workspace.by(principal.actor))
    return json_answer({"version": accepted.version})


_RECORD = {
    "number": 1, "code": "property_missing", "field": "properties.business", "expected": "a value", "found": "none",
    "source": "key shop", "line": 1, "state": "waiting", "first_seen_at": "2026-01-02T03:04:05.000000Z",
    "last_seen_at": "2026-01-02T03:04:05.000000Z", "seen_count": 1, "record": "{}",
}  # fmt: skip


@router.get(
    "/v1/quarantine",
    summary="Records that could not become events",
    responses=responses(
        QuarantineAnswer, {"waiting": {"property_missing": 1}, "records": [_RECORD], "next_cursor": None}, of_cut=False
    ),
)
def quarantine(
    request: Request,
    principal: Reading,
    *,
    code: Annotated[str | None, Query(max_length=64, description="Only with this rejection code.")] = None,
    everything: Annotated[bool, Query(description="Records that were replayed or erased, too.")] = False,
    limit: Annotated[int, Query(ge=1, le=_MOST_RECORDS, description="At most so many on a page.")] = 100,
    cursor: CursorParameter = "",
) -> Response:
    """Each whole, with the reason, in order of number."""
    workspace = request.app.state.service.workspace
    subject = cursors.subject_of(request, principal)
    after = int(cursors.read(cursor, subject, (int,)).place[0]) if cursor else 0
    found = quarantining.quarantined(workspace, code=code, everything=everything, limit=limit, after=after)
    following = cursors.written(Cursor((found[-1].number,)), subject) if len(found) >= limit else None
    rows = [quarantined_as_json(item) for item in found]
    waiting = quarantining.waiting_by_code(workspace)
    return json_answer({"waiting": waiting, "records": rows, "next_cursor": following})


class RetryBody(BaseModel):
    """Which records go through the door again; `corrected` takes the place of the one that is named."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"numbers": [12]}})

    numbers: list[Annotated[int, Field(ge=1, le=2**31 - 1)]] = Field(
        [], max_length=10_000, description="Without any, all that wait."
    )
    corrected: dict[str, Any] | None = Field(None, description="The record as it should have been.")


@router.post(
    "/v1/quarantine/retry",
    summary="Send records through the door again",
    responses=responses(
        RetriedAnswer, {"accepted": 1, "duplicates": 0, "quarantined": 0, "released": [12]}, of_cut=False
    ),
)
def retry(request: Request, principal: Approving, body: RetryBody) -> Response:
    """After a model was mended, or with a corrected record. Publishing waits meanwhile."""
    service: Service = request.app.state.service
    corrected = json.dumps(body.corrected).encode() if body.corrected is not None else None
    with service.publisher.paused():
        result = quarantining.retry(service.workspace.by(principal.actor), body.numbers, corrected)
    sealing.seal(service.workspace)
    return json_answer({**asdict(result.receipt), "released": list(result.released)})
