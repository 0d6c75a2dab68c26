"""The questions about quality under `/v1`: scores, metrics, history, expectations, arrivals and completeness."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from clearwell.application import arriving, comparing, evaluating, expecting, scoring
from clearwell.application.cutting import CutRequest
from clearwell.application.telling import (
    arrivals_as_json,
    comparison_as_json,
    cut_as_json,
    expectations_as_json,
    history_as_json,
    measured_as_json,
    scores_as_json,
)
from clearwell.errors import UsageError
from clearwell.quality.dialects import Dialect
from clearwell.quality.metrics import Metric
from clearwell.service.api import cursors
from clearwell.service.api.answers import json_answer
from clearwell.service.api.asking import USUAL_LIMIT, Asked, CursorParameter, CutParameters, LimitParameter, settled
from clearwell.service.api.cursors import Cursor
from clearwell.service.api.schemas import (
    ArrivalsAnswer,
    ComparedAnswer,
    ComparisonsAnswer,
    DifferencesAnswer,
    EvaluationAnswer,
    ExpectationsAnswer,
    HistoryAnswer,
    MetricAnswer,
    QualityAnswer,
    StatementAnswer,
    responses,
)
from clearwell.service.api.security import Approving, Querying, Reading
from clearwell.service.running import Service

router = APIRouter(tags=["quality"])

PeriodParameter = Annotated[
    str,
    Query(
        max_length=32,
        description="hour, day, week, month or all, as of the cut; or one, such as 2026-03 or 2026-W12.",
        examples=["2026-01"],
    ),
]
KindParameter = Annotated[Literal["hour", "day", "week", "month"], Query(description="Periods of which length.")]

ByParameter = Annotated[
    list[str],
    Query(
        max_length=8,
        description="Tell apart by flow, owner, event_type, account_type, producer, currency, a kind of period, or a "
        "property. Repeatable.",
    ),
]

_PERIOD = {"name": "2026-01", "start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
_NODE = {
    "node": "company", "name": "company", "parent": None, "currency": "USD", "total_money": 1970, "uncleared_money": 0,
    "late_money": 0, "missing_money": 0, "missing_estimated": False, "score": 1.0,
    "attributed_money": 0, "explained": 1.0, "score_before": None, "score_change": None, "lost_money_change": None,
}  # fmt: skip


@router.get(
    "/v1/quality",
    summary="The tree of scores",
    responses=responses(
        QualityAnswer, {"period": _PERIOD, "explained_at": "2026-02-01T00:00:00Z", "nodes": [_NODE]}, arrow=True
    ),
)
def quality(asked: Asked, period: PeriodParameter = "month") -> Response:
    """The score of company, teams, flows and account types in a period, and the money that lowers it."""
    return asked.answer(
        lambda: scores_as_json(scoring.scores(asked.service.workspace, asked.request, period)), "nodes", list(_NODE)
    )


@router.get(
    "/v1/metrics/{metric}",
    summary="A metric in cross-sections",
    responses=responses(MetricAnswer, {"period": _PERIOD, "clearing": []}, arrow=True),
)
def metrics(
    asked: Asked,
    *,
    metric: Annotated[Metric, Path(description="Which metric.", examples=["clearing"])],
    period: PeriodParameter = "all",
    by: ByParameter = [],  # noqa: B006  (FastAPI copies it.)
    top: Annotated[int, Query(ge=1, le=10_000, description="So many values of a property; the rest is one.")] = 20,
    past_due: Annotated[
        list[str], Query(max_length=20, description='Where buckets of aging end, such as "12 hours". Repeatable.')
    ] = [],  # noqa: B006
) -> Response:
    """Timeliness, lags, clearing or aging of a period, told apart by what is asked for."""
    from clearwell.application import measuring  # Ibis takes a second.

    def make() -> dict[str, Any]:
        wanted = measuring.MeasureRequest(metric, period, tuple(by), "duckdb", top, tuple(past_due))
        return measured_as_json(measuring.measure(asked.service.workspace, asked.request, wanted), metric)

    return asked.answer(make, metric)


@router.get(
    "/v1/metrics/{metric}/statement",
    summary="The statement behind a metric",
    responses=responses(StatementAnswer, {"statement": "SELECT …"}, of_cut=False),
)
def statement(
    request: Request,
    _principal: Reading,
    *,
    metric: Annotated[Metric, Path(description="Which metric.", examples=["clearing"])],
    asked: CutParameters,
    dialect: Annotated[Dialect, Query(description="The system that is to run it.")] = "duckdb",
    period: PeriodParameter = "all",
    by: ByParameter = [],  # noqa: B006
    top: Annotated[int, Query(ge=1, le=10_000, description="So many values of a property; the rest is one.")] = 20,
) -> Response:
    """What gives the sums of the metric in another system, from the log alone."""
    from clearwell.application import measuring

    wanted = measuring.MeasureRequest(metric, period, tuple(by), most=top)
    cut = settled(request.app.state.service, asked)
    return json_answer({"statement": measuring.statement_behind(_workspace(request), cut, wanted, dialect)})


@router.get(
    "/v1/history",
    summary="The scores that were evaluated",
    responses=responses(HistoryAnswer, {"periods": [{"period": "2026-01-31", **_NODE}]}, of_cut=False),
)
def history(
    request: Request,
    _principal: Reading,
    *,
    period: KindParameter = "day",
    node: Annotated[
        str, Query(max_length=255, description="The name of a team, a flow or an account type.")
    ] = "company",
    currency: Annotated[str | None, Query(max_length=32, description="Only in this currency.")] = None,
    last: Annotated[int, Query(ge=1, le=10_000, description="At most so many periods, the newest.")] = 60,
) -> Response:
    """Period by period, each with the cut that it is of."""
    points = evaluating.history(_workspace(request), period)[-last:]
    return json_answer({"periods": history_as_json(points, node, currency)})


class EvaluateBody(BaseModel):
    """Which periods are to be evaluated, at which cut."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"period": "month"}})

    period: Literal["hour", "day", "week", "month"] = "day"
    since: str = Field("", max_length=32, description="From this period on. Default: the first.")
    until: str = Field("", max_length=32, description="Up to this period. Default: the one of the cut.")
    at: str = Field("", max_length=64)
    known_at: str = Field("", max_length=64)


@router.post(
    "/v1/evaluations",
    summary="Evaluate the scores of many periods",
    responses=responses(EvaluationAnswer, {"periods": 31, "added": 31}),
)
def evaluate(request: Request, principal: Querying, body: EvaluateBody) -> Response:
    """Evaluate the scores of many periods at one cut, and keep them: `/v1/history` has them."""
    asked = settled(request.app.state.service, CutRequest(body.at, body.known_at))
    report = evaluating.evaluate(_workspace(request).by(principal.actor), asked, body.period, body.since, body.until)
    return json_answer({"cut": cut_as_json(report.cut), "periods": report.periods, "added": report.added})


_EXPECTATIONS_EXAMPLE = {
    "quantile": "0.999", "headroom": "1.5", "minimum_episodes": 200, "accepted_at": None, "account_types": [],
}  # fmt: skip


@router.get(
    "/v1/expectations",
    summary="Clearing windows learned from history",
    responses=responses(ExpectationsAnswer, _EXPECTATIONS_EXAMPLE, arrow=True),
)
def expectations(
    asked: Asked, account_type: Annotated[str, Query(max_length=255, description="Only this account type.")] = ""
) -> Response:
    """Beside the declared ones, and how episodes fared against these."""
    return asked.answer(
        lambda: expectations_as_json(expecting.expectations(asked.service.workspace, asked.request, account_type)),
        "account_types",
    )


class AcceptWindowsBody(BaseModel):
    """Which windows are to come in force, learned at which cut."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"account_type": "charge_undisbursed"}})

    account_type: str = Field("", max_length=255, description="Only this account type.")
    at: str = Field("", max_length=64)
    known_at: str = Field("", max_length=64)


@router.post(
    "/v1/expectations/accept",
    summary="Put learned windows in force",
    responses=responses(ExpectationsAnswer, _EXPECTATIONS_EXAMPLE),
)
def accept_windows(request: Request, principal: Approving, body: AcceptWindowsBody) -> Response:
    """Those of account types that declare `clears_within: learned`. Publishing waits meanwhile."""
    service: Service = request.app.state.service
    asked = settled(service, CutRequest(body.at, body.known_at))
    with service.publisher.paused():
        report = expecting.accept(service.workspace.by(principal.actor), asked, body.account_type)
    return json_answer(expectations_as_json(report))


@router.get(
    "/v1/arrivals",
    summary="Whether events arrive as expected",
    responses=responses(ArrivalsAnswer, {"bucket": "hour", "findings": [], "subjects": []}, arrow=True),
)
def arrivals(
    asked: Asked,
    *,
    bucket: Annotated[Literal["hour", "day"], Query(description="Judge by the hour, or by the local day.")] = "hour",
    days: Annotated[int, Query(ge=1, le=366, description="Judge so many days before the cut.")] = 7,
    event_type: Annotated[str, Query(max_length=255, description="Only this event type.")] = "",
    account_type: Annotated[str, Query(max_length=255, description="Only this account type.")] = "",
) -> Response:
    """Hours or days with too few events, too many, late ones, or none. In Arrow, the findings."""
    return asked.answer(
        lambda: arrivals_as_json(
            arriving.arrivals(
                asked.service.workspace, asked.request, bucket, days, event_type=event_type, account_type=account_type
            )
        ),
        "findings",
    )


@router.get(
    "/v1/completeness",
    summary="The comparisons with producers' own records",
    responses=responses(ComparisonsAnswer, {"comparisons": [], "next_cursor": None}, of_cut=False),
)
def completeness(
    request: Request,
    principal: Reading,
    source: Annotated[str, Query(max_length=255, description="Only of this producer source.")] = "",
    limit: LimitParameter = None,
    cursor: CursorParameter = "",
) -> Response:
    """Every comparison that was kept, the newest first, each with the cut that it is of."""
    subject, most = cursors.subject_of(request, principal), limit or 100
    before = int(cursors.read(cursor, subject, (int,)).place[0]) if cursor else None
    rows = comparing.kept(_workspace(request), source, before, most)
    following = cursors.written(Cursor((rows[-1]["number"],)), subject) if len(rows) >= most else None
    return json_answer({"comparisons": rows, "next_cursor": following})


@router.get(
    "/v1/completeness/{number}/differences",
    summary="What a comparison found",
    responses=responses(DifferencesAnswer, {"differences": [], "next_cursor": None}, of_cut=False),
)
def differences(
    request: Request,
    principal: Reading,
    number: Annotated[int, Path(ge=1, le=2**31 - 1, description="The comparison.", examples=[1])],
    limit: LimitParameter = None,
    cursor: CursorParameter = "",
) -> Response:
    """Records that are missing, unexpected, different or duplicates, in the order in which they were found."""
    subject, most = cursors.subject_of(request, principal), limit or USUAL_LIMIT
    after = int(cursors.read(cursor, subject, (int,)).place[0]) if cursor else 0
    rows = comparing.kept_differences(_workspace(request), number, after, most)
    following = cursors.written(Cursor((rows[-1]["place"],)), subject) if len(rows) >= most else None
    return json_answer({"differences": rows, "next_cursor": following})


class CompareBody(BaseModel):
    """Which producer sources are to be compared, of which period, at which cut."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"names": ["charges"], "period": "2026-01"}}
    )

    names: list[str] = Field([], max_length=100, description="Producer sources. Default: all.")
    period: str = Field("", max_length=32, description="A month, week, day or hour. Default: everything.")
    at: str = Field("", max_length=64)
    known_at: str = Field("", max_length=64)


@router.post(
    "/v1/completeness",
    summary="Compare producers' own records with the log",
    responses=responses(ComparedAnswer, {"comparisons": []}, of_cut=False),
)
def compare(request: Request, principal: Querying, body: CompareBody) -> Response:
    """Compare now, and keep what is found."""
    service: Service = request.app.state.service
    if service.options.open_producer is None:
        raise UsageError("producers_not_readable", "this service was started without a way to producers' records")
    asked = settled(service, CutRequest(body.at, body.known_at))
    opened = service.options.open_producer
    found = list(
        comparing.compare(service.workspace.by(principal.actor), opened, asked, body.names, period=body.period)
    )
    return json_answer({"comparisons": [comparison_as_json(item) for item in found]})


def _workspace(request: Request) -> Any:
    return request.app.state.service.workspace
