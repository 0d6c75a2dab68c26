"""What a tenant may ask under `/v1/own`: its balances and its events, by the property values of its key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from clearwell.application import tenancy
from clearwell.application.asked_texts import pairs
from clearwell.application.telling import cut_as_json, trace_as_json
from clearwell.service.api.asking import OwnAsked
from clearwell.service.api.schemas import OwnBalancesAnswer, TraceAnswer, responses

router = APIRouter(tags=["tenants"])

_BALANCES_EXAMPLE = {
    "properties": {"business": "acct_A"},
    "balances": [{"currency": "USD", "available": 970, "pending": 1000}],
    "account_types": [
        {
            "flow": "card_payments", "account_type": "business_balance", "kind": "reservoir", "currency": "USD",
            "balance": 970, "account_count": 1,
        },
    ],
}  # fmt: skip


@router.get(
    "/v1/own/balances", summary="A tenant's balances", responses=responses(OwnBalancesAnswer, _BALANCES_EXAMPLE)
)
def balances(asked: OwnAsked) -> Response:
    """Per currency what is available and what is pending, and the account types that these are the sums of."""

    def make() -> dict[str, Any]:
        bound = dict(asked.principal.properties)
        return own_as_json(bound, tenancy.own_balances(asked.service.workspace, asked.request, bound))

    return asked.answer(make)


def own_as_json(bound: dict[str, str], found: tenancy.OwnBalances) -> dict[str, Any]:
    """A tenant's balances as they are sent."""
    content = {"cut": cut_as_json(found.cut), "properties": bound}
    return {**content, "balances": found.balances, "account_types": found.account_types}


@router.get(
    "/v1/own/trace",
    summary="A tenant's events",
    responses=responses(TraceAnswer, {"events": [], "accounts": [], "truncated": ""}),
)
def trace(
    asked: OwnAsked,
    property: Annotated[  # noqa: A002
        list[str],
        Query(
            max_length=20,
            description="NAME=VALUE: only events with this value in an account of the tenant's. Repeatable.",
            examples=[["charge=ch_1"]],
        ),
    ] = [],  # noqa: B006  (FastAPI copies it.)
) -> Response:
    """The events of the tenant's accounts, with their entries there and nothing else. At most 10,000."""

    def make() -> dict[str, Any]:
        bound, values = dict(asked.principal.properties), pairs(property, "property")
        return trace_as_json(tenancy.own_trace(asked.service.workspace, asked.request, bound, values))

    return asked.answer(make)
