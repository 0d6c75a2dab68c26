"""`GET /v1/audit`: who changed what, when, and from where."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from clearwell.application import auditing
from clearwell.application.auditing import MOST_ENTRIES
from clearwell.catalog.audit import AuditFilter
from clearwell.service.api.schemas import responses
from clearwell.service.api.security import Administering

router = APIRouter(tags=["access"])

_LARGEST = 2**63 - 1
_LONGEST = 500


class AuditQuery(BaseModel):
    """Which entries."""

    model_config = ConfigDict(extra="forbid")

    who: str = Field("", max_length=_LONGEST, description="Only of this key or person, such as `key checkout`.")
    act: str = Field("", max_length=_LONGEST, description="An act such as `key.make`, or its first word.")
    subject: str = Field("", max_length=_LONGEST, description="Only changes of this.")
    since: str = Field("", max_length=_LONGEST, description="An instant or a day.")
    until: str = Field("", max_length=_LONGEST, description="An instant or a day, which is not included.")
    after: int | None = Field(None, ge=0, le=_LARGEST, description="Entries with a greater number, oldest first.")
    before: int = Field(0, ge=0, le=_LARGEST, description="Entries with a lesser number, newest first.")
    limit: int = Field(100, ge=1, le=MOST_ENTRIES, description="At most so many.")


class EntryAnswer(BaseModel):
    """One change."""

    number: int
    at: str
    who: str = Field(examples=["key administrator"])
    act: str = Field(examples=["key.make"])
    subject: str
    details: dict[str, Any]
    origin: str


class AuditAnswer(BaseModel):
    """Entries, and the number to go on from as `after` (or `before`); null when there were fewer than asked for."""

    entries: list[EntryAnswer]
    next: int | None


_ENTRY = {
    "number": 1, "at": "2026-01-02T03:04:05.000000Z", "who": "key administrator", "act": "key.make",
    "subject": "checkout", "details": {"role": "producer"}, "origin": "127.0.0.1",
}  # fmt: skip


@router.get("/v1/audit", responses=responses(AuditAnswer, {"entries": [_ENTRY], "next": None}, of_cut=False))
def audit(request: Request, _principal: Administering, query: Annotated[AuditQuery, Query()]) -> AuditAnswer:
    """Who changed what: the newest first, or from the number `after` on, in order."""
    wanted = AuditFilter(query.who, query.act, query.subject, after=query.after, before=query.before)
    workspace = request.app.state.service.workspace
    found = auditing.entries(workspace, wanted, since=query.since, until=query.until, limit=query.limit)
    return AuditAnswer(
        entries=[EntryAnswer(**item.__dict__) for item in found],
        next=found[-1].number if len(found) == query.limit else None,
    )
