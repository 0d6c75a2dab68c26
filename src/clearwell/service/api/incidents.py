"""Incidents under `/v1`: the causes that people name, and the findings that they attribute to them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from clearwell.application import attributing, incidents
from clearwell.application.attributing import AttributionReport, Selection
from clearwell.application.cutting import CutRequest
from clearwell.application.telling import cut_as_json
from clearwell.service.api.answers import json_answer
from clearwell.service.api.schemas import Row, responses
from clearwell.service.api.security import Approving, Reading
from clearwell.service.running import Service

router = APIRouter(tags=["incidents"])

_INCIDENT = {
    "number": 1, "name": "gateway-outage", "known": "Card gateway down", "opened_at": "2026-03-04T18:00:00.000000Z",
    "closed_at": None, "uncleared_count": 12, "late_count": 0, "missing_count": 0,
}  # fmt: skip
_Text = Annotated[str, Field(max_length=10_000)]


NamePath = Annotated[str, Path(max_length=incidents.MOST_NAME_CHARACTERS, description="The incident's name.")]


class IncidentsAnswer(BaseModel):
    """Incidents, the oldest first, with how many subjects of each rule are attributed to it."""

    incidents: list[Row]


class AttributionAnswer(BaseModel):
    """What was done with the subjects of a selection: so many were found, and changed; `cut` is where it looked."""

    incident: str
    rule: str | None
    cut: dict[str, Any] | None
    found: int
    changed: int
    moved: int


class OpenBody(BaseModel):
    """A new incident."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "gateway-outage", "known": ""}})

    name: str = Field(max_length=incidents.MOST_NAME_CHARACTERS)
    known: _Text = Field("", description="What is known of it.")


class CloseBody(BaseModel):
    """The end of an incident."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"known": "Repaired"}})

    known: _Text | None = Field(None, description="What is known of it by now.")


class SelectionBody(BaseModel):
    """Which subjects: one by one, or all overdue accounts, late events or missing records that are selected."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"account_type": "charge_undisbursed"}})

    rule: Literal["uncleared", "late", "missing"] = "uncleared"
    subjects: list[Annotated[str, Field(max_length=2_000)]] = Field([], max_length=100_000)
    account_type: Annotated[str, Field(max_length=255)] = ""
    properties: dict[str, str] = Field(default_factory=dict, max_length=20)
    opened_from: datetime | None = None
    opened_until: datetime | None = None
    event_type: Annotated[str, Field(max_length=255)] = ""
    period: Annotated[str, Field(max_length=32)] = "all"
    comparison: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    at: Annotated[str, Field(max_length=64)] = ""
    known_at: Annotated[str, Field(max_length=64)] = ""

    @property
    def selection(self) -> Selection:
        """What is selected."""
        own = self.model_dump(exclude={"at", "known_at", "subjects", "move", "everything"})
        return Selection(subjects=tuple(self.subjects), **own)

    @property
    def request(self) -> CutRequest:
        """Where it looks."""
        return CutRequest(self.at, self.known_at)


class AttributeBody(SelectionBody):
    """What is to be attributed."""

    move: bool = Field(False, description="Also what is attributed to another incident.")


class WithdrawBody(SelectionBody):
    """What is to be attributed no longer."""

    everything: bool = Field(False, description="All that is attributed to it, whatever else is said.")


@router.get(
    "/v1/incidents",
    summary="Named causes",
    responses=responses(IncidentsAnswer, {"incidents": [_INCIDENT]}, of_cut=False),
)
def listed(
    request: Request, _principal: Reading, *, closed: Annotated[bool, Query(description="Closed ones, too.")] = False
) -> Response:
    """The incidents that people named, and how much is attributed to each."""
    workspace = request.app.state.service.workspace
    return json_answer({"incidents": [item.row for item in incidents.listed(workspace, closed=closed)]})


@router.post(
    "/v1/incidents", summary="Name a cause", responses=responses(IncidentsAnswer, {"incidents": []}, of_cut=False)
)
def open_incident(request: Request, principal: Approving, body: OpenBody) -> Response:
    """Open an incident, so that what it did to the money can be attributed to it."""
    service: Service = request.app.state.service
    incidents.open_incident(service.workspace.by(principal.actor), body.name, body.known)
    return _one(service, body.name)


@router.post(
    "/v1/incidents/{name}/close",
    summary="Say that a cause is over",
    responses=responses(IncidentsAnswer, {"incidents": [_INCIDENT]}, of_cut=False),
)
def close_incident(request: Request, principal: Approving, name: NamePath, body: CloseBody) -> Response:
    """What is attributed to it stays so, and more can be."""
    service: Service = request.app.state.service
    incidents.close_incident(service.workspace.by(principal.actor), name, body.known)
    return _one(service, name)


_DONE = {"incident": "gateway-outage", "rule": "uncleared", "cut": None, "found": 12, "changed": 12, "moved": 0}


@router.post(
    "/v1/incidents/{name}/attribute",
    summary="Attribute findings to a cause",
    responses=responses(AttributionAnswer, _DONE, of_cut=False),
)
def attribute(request: Request, principal: Approving, name: NamePath, body: AttributeBody) -> Response:
    """A selection is of a cut, and written down as the subjects that it finds. Safe to repeat."""
    workspace = request.app.state.service.workspace.by(principal.actor)
    return _told(attributing.attribute(workspace, body.request, name, body.selection, move=body.move))


@router.post(
    "/v1/incidents/{name}/withdraw",
    summary="Attribute findings to a cause no longer",
    responses=responses(AttributionAnswer, _DONE, of_cut=False),
)
def withdraw(request: Request, principal: Approving, name: NamePath, body: WithdrawBody) -> Response:
    """What is selected, or everything. Safe to repeat."""
    workspace = request.app.state.service.workspace.by(principal.actor)
    selection = None if body.everything else body.selection
    return _told(attributing.withdraw(workspace, body.request, name, selection))


def _one(service: Service, name: str) -> Response:
    found = incidents.listed(service.workspace, closed=True)
    return json_answer({"incidents": [item.row for item in found if item.incident.name == name]})


def _told(done: AttributionReport) -> Response:
    return json_answer({**done.__dict__, "cut": None if done.cut is None else cut_as_json(done.cut)})
