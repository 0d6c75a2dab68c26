"""`GET /v1/live`: figures as they change, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import StreamingResponse

from clearwell.service.api.answers import as_text
from clearwell.service.api.schemas import problems
from clearwell.service.api.security import Reading, Tenant
from clearwell.service.feeds import Feeds, Figures, Message, own_figures, score_figures, status_figures

router = APIRouter()

HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 300.0
"""So long a stream is, and so long may a key that was revoked still listen; who wants more comes back by itself."""

_EXAMPLE = (
    "id: 41.1.5f0e7c11\nevent: snapshot\n"
    'data: {"cut": {"effective_at": "2026-02-01T00:00:04Z", "recorded_at": "2026-02-01T00:00:03Z", "sequence": 41}, '
    '"account_types": []}\n\n'
)
_EVENTS = {
    200: {
        "description": "A snapshot, then what changes.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    },
    **problems(),
}

LastEventId = Annotated[
    str, Header(alias="Last-Event-ID", max_length=128, description="The id of the last message that was seen.")
]


@router.get(
    "/v1/live",
    summary="Figures as they change",
    tags=["questions"],
    response_class=StreamingResponse,
    responses=_EVENTS,
)
async def live(
    request: Request,
    principal: Reading,
    figures: Annotated[Literal["status", "scores"], Query(description="What to listen to.")] = "status",
    period: Annotated[
        Literal["hour", "day", "week", "month", "all"], Query(description="Of scores: the period of the present.")
    ] = "month",
    last_event_id: LastEventId = "",
) -> StreamingResponse:
    """A snapshot of the figures at present, then the rows that change, within a second of an acknowledgement."""
    workspace = request.app.state.service.workspace
    wanted = status_figures(workspace) if figures == "status" else score_figures(workspace, period)
    return _streamed(request, wanted, last_event_id, principal.who)


@router.get(
    "/v1/own/live",
    summary="A tenant's balances as they change",
    tags=["tenants"],
    response_class=StreamingResponse,
    responses=_EVENTS,
)
async def own_live(request: Request, principal: Tenant, last_event_id: LastEventId = "") -> StreamingResponse:
    """A snapshot of the tenant's balances per currency, then those that change."""
    wanted = own_figures(request.app.state.service.workspace, dict(principal.properties))
    return _streamed(request, wanted, last_event_id, principal.who)


def _streamed(request: Request, figures: Figures, last_number: str, who: str) -> StreamingResponse:
    feeds: Feeds = request.app.state.feeds
    feeds.require_room(who)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _messages(feeds, figures, last_number, who), headers=headers, media_type="text/event-stream"
    )


async def _messages(feeds: Feeds, figures: Figures, last_number: str, who: str) -> AsyncIterator[str]:
    with feeds.listening(figures, last_number, who) as listener:
        end_at = asyncio.get_running_loop().time() + LONGEST_SECONDS
        yield "retry: 1000\n\n"
        while (left := end_at - asyncio.get_running_loop().time()) > 0:
            try:
                message = await listener.next(min(HEARTBEAT_SECONDS, left))
            except TimeoutError:
                yield ": still here\n\n"
                continue
            if message is None:
                return
            yield _text(message)


def _text(message: Message) -> str:
    return f"id: {message.number}\nevent: {message.name}\ndata: {as_text(message.content)}\n\n"
