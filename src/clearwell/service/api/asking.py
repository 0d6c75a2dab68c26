"""Questions over HTTP: which cut they mean, whether the caller has the answer already, and in which form it is wanted.

Every answer carries an ETag. Of a cut that the request names it is strong: the same cut has the same answer for ever.
Of the present it is weak, and stays the same while nothing is applied, for as long as `PRESENT_SECONDS` at most: that
much later than it happens may a caller that revalidates see an account become overdue.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from starlette.responses import Response

from clearwell import __version__
from clearwell.application import comparing
from clearwell.application.access import Principal
from clearwell.application.cutting import CutRequest, cut_of
from clearwell.application.explaining import attributions_changed_at
from clearwell.application.telling import cut_as_json
from clearwell.errors import StorageError
from clearwell.service.api import cursors
from clearwell.service.api.answers import ARROW, arrow_answer, json_answer, rows_as_arrow
from clearwell.service.api.cursors import Cursor, Place
from clearwell.service.api.security import Reading, Tenant
from clearwell.service.running import Service
from clearwell.values.cuts import Cut
from clearwell.values.times import stored_text

WAIT_SECONDS = 2.0
PRESENT_SECONDS = 10
USUAL_LIMIT, MOST_LIMIT = 1_000, 10_000

AtParameter = Annotated[
    str,
    Query(
        max_length=64,
        description="The books up to this effective time: an instant, or a day for its 00:00 UTC. Default: now.",
        examples=["2026-01-31T23:59:59Z"],
    ),
]
KnownAtParameter = Annotated[
    str,
    Query(
        max_length=64,
        description="As known at this sequence or recorded time. Default: all that is known. A sequence that was just "
        "acknowledged is waited for, 2 s at most.",
        examples=["41"],
    ),
]
LimitParameter = Annotated[int | None, Query(ge=1, le=MOST_LIMIT, description="At most so many rows on a page.")]
CursorParameter = Annotated[
    str,
    Query(
        max_length=cursors.LONGEST, description="The `next_cursor` of the page before, which it is of the same cut as."
    ),
]


@dataclass(frozen=True)
class Question:
    """A question of somebody: `request` says its cut. `tag` is the ETag of its answer."""

    service: Service
    principal: Principal
    request: CutRequest
    subject: str
    tag: str
    is_known: bool
    wants_arrow: bool
    cursor: str

    @property
    def headers(self) -> dict[str, str]:
        """What every answer carries."""
        return {"ETag": self.tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}

    def answer(self, make: Callable[[], Mapping[str, Any]], rows_in: str = "", names: Sequence[str] = ()) -> Response:
        """What `make` gives, in JSON; in Arrow, when that is wanted, the rows in its member `rows_in`.

        A caller who has the answer is told so, and nothing is computed.
        """
        if self.is_known:
            return self.not_modified()
        content = make()
        if not (rows_in and self.wants_arrow):
            return json_answer(content, self.headers)
        table = rows_as_arrow(content[rows_in], names)
        headers = {**self.headers, **_cut_header(content), "Clearwell-Next-Cursor": content.get("next_cursor") or ""}
        most = self.service.options.answer_bytes
        return arrow_answer(table.schema, table.to_batches(), headers, most)

    def not_modified(self) -> Response:
        """That the caller has the answer."""
        return Response(status_code=304, headers=self.headers)

    def place(self, kinds: Sequence[type]) -> Cursor | None:
        """Where the page begins; None for the first. Raises UsageError for a cursor that is none of this question."""
        return cursors.read(self.cursor, self.subject, kinds) if self.cursor else None

    def at(self, cursor: Cursor | None) -> CutRequest:
        """The cut to ask for: that of the first page on all others."""
        return CutRequest(exact=cursor.cut) if cursor is not None and cursor.cut is not None else self.request

    def next_cursor(
        self, rows: Sequence[object], limit: int, place: Place, cut: Cut | None = None, total: int | None = None
    ) -> str | None:
        """What to ask for the next page with; None after the last one."""
        return cursors.written(Cursor(place, cut, total), self.subject) if len(rows) >= limit else None


def _cut_header(content: Mapping[str, Any]) -> dict[str, str]:
    cut = content.get("cut")
    if not isinstance(cut, Mapping):
        return {}
    values = {name: item if isinstance(item, (int, str)) else stored_text(item) for name, item in cut.items()}
    return {"Clearwell-Cut": json.dumps(values)}


def cut_header(cut: Cut) -> dict[str, str]:
    """The cut of an answer that has no place for it."""
    return _cut_header({"cut": cut_as_json(cut)})


def _cut_request(at: AtParameter = "", known_at: KnownAtParameter = "") -> CutRequest:
    return CutRequest(at, known_at)


CutParameters = Annotated[CutRequest, Depends(_cut_request)]


IfNoneMatch = Annotated[str, Header(max_length=4_096, description="ETags of answers that the caller has.")]


def _asked(request: Request, principal: Reading, wanted: CutParameters, if_none_match: IfNoneMatch = "") -> Question:
    return _question(request, principal, wanted, if_none_match)


def _own_asked(request: Request, principal: Tenant, wanted: CutParameters, if_none_match: IfNoneMatch = "") -> Question:
    return _question(request, principal, wanted, if_none_match)


Asked = Annotated[Question, Depends(_asked)]
OwnAsked = Annotated[Question, Depends(_own_asked)]


def _question(request: Request, principal: Principal, asked: CutRequest, if_none_match: str) -> Question:
    service: Service = request.app.state.service
    wanted = settled(service, asked)
    wants_arrow = ARROW in request.headers.get("accept", "").lower()
    tag = _tag(service, request, principal, wanted, wants_arrow)
    given = {item.strip().removeprefix("W/") for item in if_none_match.split(",")}
    is_known = tag.removeprefix("W/") in given
    cursor = request.query_params.get("cursor", "")
    subject = cursors.subject_of(request, principal)
    return Question(service, principal, wanted, subject, tag, is_known, wants_arrow, cursor)


def settled(service: Service, request: CutRequest) -> CutRequest:
    """The request with the cut that it means, unless it is of the present, which moves.

    What it says is known is waited for, until it is projected. Raises StorageError (`projections_behind`) when that
    takes too long, and as `cut_of` does.
    """
    if request.is_of_now:
        return request
    upto = None if request.known_at else service.keeper.applied_sequence
    cut = cut_of(service.workspace, request, upto)
    if cut.sequence > service.keeper.applied_sequence and not service.keeper.reached(cut.sequence, WAIT_SECONDS):
        message = (
            f"expected sequence {cut.sequence} to be projected, found {service.keeper.applied_sequence}: ask again"
        )
        raise StorageError("projections_behind", message)
    return replace(request, exact=cut)


def _tag(service: Service, request: Request, principal: Principal, wanted: CutRequest, wants_arrow: bool) -> str:
    workspace = service.workspace
    parameters = sorted(request.query_params.multi_items())
    runs = comparing.kept(workspace, most=1)
    content: list[object] = [
        __version__, request.url.path, parameters, wants_arrow, principal.kind, principal.name,
        repr(workspace.settings), runs and runs[0]["number"], str(attributions_changed_at(workspace)),
    ]  # fmt: skip
    if workspace.has_keys:  # A subject that is forgotten is so at once.
        content.append(time.time_ns())
    if wanted.exact is not None:
        cut = wanted.exact
        content += [stored_text(cut.effective_at), stored_text(cut.recorded_at), cut.sequence]
    else:
        periods = workspace.periods()
        moment = int(workspace.clock().timestamp()) // PRESENT_SECONDS
        content += [service.keeper.applied_sequence, moment, periods[-1].accepted_at if periods else ""]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    return f'"{digest}"' if wanted.exact is not None else f'W/"{digest}"'
