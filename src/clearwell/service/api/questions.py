"""The questions about money under `/v1`: status, open accounts, balances, traces, and people's own SQL."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from clearwell.application import exporting, querying, questions, tracing
from clearwell.application.asked_texts import instant_of, pairs, seconds_of
from clearwell.application.cutting import CutRequest
from clearwell.application.questions import BALANCE_FIELDS, OPEN_FIELDS, STATUS_FIELDS, OpenFilter
from clearwell.application.telling import cut_as_json, trace_as_json
from clearwell.errors import OverloadError
from clearwell.service.api.answers import ARROW, arrow_answer, json_rows_answer
from clearwell.service.api.asking import (
    USUAL_LIMIT,
    Asked,
    CursorParameter,
    LimitParameter,
    Question,
    cut_header,
    settled,
)
from clearwell.service.api.schemas import (
    BalancesAnswer,
    OpenAnswer,
    QueryAnswer,
    StatusAnswer,
    TraceAnswer,
    responses,
)
from clearwell.service.api.security import Querying
from clearwell.service.running import Service

router = APIRouter(tags=["questions"])

_PLACES: dict[str, tuple[type, ...]] = {
    "age": (int, int, str, str, str),
    "money": (int, int, str, str, str),
    "turnover": (int, int, str, str, str),
    "account": (str, str, str),
}
_LARGEST_MONEY = 10**30

PropertyParameter = Annotated[
    list[str],
    Query(
        max_length=20,
        description="NAME=VALUE: only with this property value. Repeatable.",
        examples=[["business=acct_A"]],
    ),
]

_STATUS_EXAMPLE = {
    "flow": "card_payments", "account_type": "charge_undisbursed", "owner": "payments-engineering", "kind": "clearing",
    "currency": "USD", "open_count": 1, "open_money": 1000, "in_flight_money": 0, "overdue_count": 1,
    "overdue_money": 1000, "due_money": 1000, "due_count": 1, "clearing": 0.0, "clearing_by_count": 0.0,
}  # fmt: skip
_OPEN_EXAMPLE = {
    "account_type": "charge_undisbursed", "properties": {"charge": "ch_1", "business": "acct_A"}, "currency": "USD",
    "balance": 1000, "turnover": 1000, "opened_at": "2026-01-02T03:04:05Z", "age_seconds": 2580954,
    "state": "overdue", "entry_count": 1,
}  # fmt: skip
_BALANCE_EXAMPLE = {
    "account_type": "business_balance", "properties": {"business": "acct_A"}, "currency": "USD", "balance": 970,
    "entry_count": 1,
}  # fmt: skip


@router.get(
    "/v1/status",
    summary="How every flow is doing",
    responses=responses(StatusAnswer, {"account_types": [_STATUS_EXAMPLE]}, arrow=True),
)
def status(asked: Asked) -> Response:
    """Per flow, account type and currency: what is open, in flight and overdue, and the share of due money cleared."""

    def make() -> dict[str, Any]:
        report = questions.status(asked.service.workspace, asked.request)
        return {"cut": cut_as_json(report.cut), "account_types": report.account_types}

    return asked.answer(make, "account_types", STATUS_FIELDS)


class OpenParameters(BaseModel):
    """Which open accounts are wanted. Money is in minor units, and compared with the amount of the balance."""

    flow: str | None = Field(None, description="Only accounts that this flow owns.", max_length=255)
    account_type: str | None = Field(None, description="Only this account type.", max_length=255)
    owner: str | None = Field(None, description="Only accounts of this team.", max_length=255)
    property: list[str] = Field([], description="NAME=VALUE: only with this property value. Repeatable.", max_length=20)
    state: Literal["in_flight", "overdue"] | None = Field(None, description="Only in this state.")
    currency: str | None = Field(None, description="Only in this currency.", max_length=32)
    older_than: str = Field("", description='Only open for longer, such as "3 days".', max_length=64)
    opened_from: str = Field("", description="Only opened at or after this instant or day.", max_length=64)
    opened_until: str = Field("", description="Only opened before this instant or day.", max_length=64)
    min_money: int | None = Field(None, ge=0, le=_LARGEST_MONEY, description="Only at least so much.")
    max_money: int | None = Field(None, ge=0, le=_LARGEST_MONEY, description="Only at most so much.")
    sort: Literal["age", "money", "turnover", "account"] = Field("age", description="The order.")
    limit: int | None = Field(None, ge=1, le=10_000_000, description="At most so many; in JSON 10,000 on a page.")
    cursor: str = Field("", max_length=8_192, description="The `next_cursor` of the page before.")


@router.get(
    "/v1/open-accounts",
    summary="Which clearing accounts have a non-zero balance",
    responses=responses(OpenAnswer, {"total": 1, "accounts": [_OPEN_EXAMPLE], "next_cursor": None}, arrow=True),
)
def open_accounts(asked: Asked, wanted: Annotated[OpenParameters, Query()]) -> Response:
    """The clearing question. In JSON by pages of one cut; in Arrow all that match, or the first `limit`."""
    if asked.is_known:
        return asked.not_modified()
    workspace = asked.service.workspace
    cursor = asked.place(_PLACES[wanted.sort])
    limit = min(wanted.limit or USUAL_LIMIT, 10_000)
    whole = OpenFilter(
        flow=wanted.flow,
        account_type=wanted.account_type,
        owner=wanted.owner,
        properties=pairs(wanted.property, "property"),
        state=wanted.state,
        currency=wanted.currency,
        older_than_seconds=seconds_of(wanted.older_than, "older_than"),
        opened_from=instant_of(wanted.opened_from, "opened_from"),
        opened_until=instant_of(wanted.opened_until, "opened_until"),
        least_money=wanted.min_money,
        most_money=wanted.max_money,
        sort=wanted.sort,
        limit=wanted.limit if asked.wants_arrow else limit,
        after=cursor.place if cursor else (),
        total=cursor.total if cursor else None,
    )
    if asked.wants_arrow:
        with exporting.open_accounts(workspace, asked.at(cursor), whole) as found:
            return _arrow(asked, found)

    def make() -> dict[str, Any]:
        report = questions.open_accounts(workspace, asked.at(cursor), whole)
        following = asked.next_cursor(report.accounts, limit, report.last, report.cut, report.total)
        content = {"cut": cut_as_json(report.cut), "total": report.total, "accounts": report.accounts}
        return {**content, "next_cursor": following}

    return asked.answer(make, "accounts", OPEN_FIELDS)


@router.get(
    "/v1/balances",
    summary="The balances of the accounts of a type",
    responses=responses(BalancesAnswer, {"balances": [_BALANCE_EXAMPLE], "next_cursor": None}, arrow=True),
)
def balances(
    asked: Asked,
    account_type: Annotated[str, Query(max_length=255, description="The account type.", examples=["business_balance"])],
    property: PropertyParameter = [],  # noqa: A002, B006  (FastAPI copies it.)
    limit: LimitParameter = None,
    cursor: CursorParameter = "",
) -> Response:
    """Per account and currency. Accounts that never had an entry, and clearing accounts at zero, are not listed."""
    if asked.is_known:
        return asked.not_modified()
    workspace, values = asked.service.workspace, pairs(property, "property")
    page = asked.place((str, str))
    if asked.wants_arrow:
        with exporting.balances(workspace, asked.at(page), account_type, values, limit) as found:
            return _arrow(asked, found)

    def make() -> dict[str, Any]:
        most = limit or USUAL_LIMIT
        after = page.place if page else ()
        cut, rows = questions.balances(workspace, asked.at(page), account_type, values, limit=most, after=after)
        place = (questions.key_of(rows[-1]), rows[-1]["currency"]) if rows else ()
        return {"cut": cut_as_json(cut), "balances": rows, "next_cursor": asked.next_cursor(rows, most, place, cut)}

    return asked.answer(make, "balances", BALANCE_FIELDS)


@router.get(
    "/v1/trace",
    summary="Everything that a value touches",
    responses=responses(TraceAnswer, {"events": [], "accounts": [], "truncated": ""}, arrow=True),
)
def trace(
    asked: Asked,
    property: Annotated[  # noqa: A002
        list[str], Query(max_length=20, description="NAME=VALUE to follow. Repeatable.", examples=[["charge=ch_1"]])
    ] = [],  # noqa: B006  (FastAPI copies it.)
    event: Annotated[
        str, Query(max_length=1_024, description="One event to follow instead: PRODUCER/ID, or #SEQUENCE.")
    ] = "",
    steps: Annotated[int, Query(ge=1, le=10, description="1: what carries the values; more: what these touch.")] = 1,
) -> Response:
    """Every event and account that property values touch. At most 10,000 events; in Arrow, the events."""

    def make() -> dict[str, Any]:
        found = tracing.trace(asked.service.workspace, asked.request, pairs(property, "property"), steps, event)
        return trace_as_json(found)

    return asked.answer(make, "events")


class QueryBody(BaseModel):
    """A query: one SELECT in DuckDB's SQL, and the cut that it is of."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"sql": "SELECT type, count(*) AS count FROM events GROUP BY type"}},
    )

    sql: str = Field(max_length=100_000, description="One SELECT over the views.")
    at: str = Field("", max_length=64, description="The books up to this effective time.")
    known_at: str = Field("", max_length=64, description="As known at this sequence or recorded time.")


@router.post(
    "/v1/query",
    summary="Ask in SQL",
    responses=responses(QueryAnswer, {"columns": ["type", "count"], "rows": [["charge.creation", 1]]}, arrow=True),
)
def query(request: Request, _principal: Querying, body: QueryBody) -> Response:
    """Run one SELECT over events, entries, open_accounts, episodes, balances and segments, as of a cut.

    It reads nothing but the ledger, and is stopped after a while.
    """
    service: Service = request.app.state.service
    if not request.app.state.queries.acquire(blocking=False):
        raise OverloadError("too_many_queries", "expected fewer queries at once: send this one again in a moment")
    try:
        return _queried(service, body, wants_arrow=ARROW in request.headers.get("accept", "").lower())
    finally:
        request.app.state.queries.release()


def _queried(service: Service, body: QueryBody, *, wants_arrow: bool) -> Response:
    asked, seconds = settled(service, CutRequest(body.at, body.known_at)), service.options.query_seconds
    most = service.options.answer_bytes
    with querying.query(service.workspace, asked, body.sql, seconds=seconds) as answer:
        if wants_arrow:
            return arrow_answer(answer.schema(), answer.batches(), cut_header(answer.cut), most)
        head = {"cut": cut_as_json(answer.cut), "columns": answer.columns}
        return json_rows_answer(head, answer.rows, {}, most)


def _arrow(asked: Question, found: exporting.Exported) -> Response:
    headers = {**asked.headers, **cut_header(found.cut)}
    return arrow_answer(found.reader.schema, found.reader, headers, asked.service.options.answer_bytes)
