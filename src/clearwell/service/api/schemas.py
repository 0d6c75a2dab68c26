"""What answers look like, for the OpenAPI description: their members, and an example of each."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from clearwell.service.api.answers import ARROW
from clearwell.service.api.problems import ProblemAnswer

_CUT: dict[str, Any] = {
    "effective_at": "2026-01-31T23:59:59Z",
    "recorded_at": "2026-02-01T00:00:03.000001Z",
    "sequence": 41,
}

Row = dict[str, Any]


class CutAnswer(BaseModel):
    """The cut: the books up to `effective_at`, as known at `recorded_at`, which is the `sequence` of the log."""

    model_config = ConfigDict(json_schema_extra={"example": _CUT})

    effective_at: str
    recorded_at: str
    sequence: int


class OfCut(BaseModel):
    """What every answer says: the cut that it is of."""

    model_config = ConfigDict(extra="allow")

    cut: CutAnswer


class Paged(OfCut):
    """A page of rows. `next_cursor` asks for the next one, of the same cut; it is null on the last page."""

    next_cursor: str | None


class StatusAnswer(OfCut):
    """A row per flow, account type and currency. Money in minor units."""

    account_types: list[Row]


class OpenAnswer(Paged):
    """A page of open accounts; `total` counts those on all pages."""

    total: int
    accounts: list[Row]


class BalancesAnswer(Paged):
    """A page of balances."""

    balances: list[Row]


class TraceAnswer(OfCut):
    """Events in log order, and the accounts that they touched. `truncated` says why not all, when it is not empty."""

    events: list[Row]
    accounts: list[Row]
    truncated: str


class PeriodAnswer(BaseModel):
    """A period; its ends are null for all time."""

    name: str
    start: str | None
    end: str | None


class QualityAnswer(OfCut):
    """The tree of scores: company, teams, flows and account types, per currency."""

    period: PeriodAnswer
    explained_at: str | None
    nodes: list[Row]


class MetricAnswer(OfCut):
    """The rows of a metric, under the metric's name."""

    period: PeriodAnswer


class StatementAnswer(BaseModel):
    """A statement in SQL."""

    statement: str


class HistoryAnswer(BaseModel):
    """A row per period and currency, each with the cut that it was evaluated at."""

    periods: list[Row]


class EvaluationAnswer(OfCut):
    """How many periods were evaluated, and how many of them were not kept at this cut before."""

    periods: int
    added: int


class ExpectationsAnswer(OfCut):
    """What was learned of each clearing account type, and the rules by which it was."""

    quantile: str
    headroom: str
    minimum_episodes: int
    accepted_at: str | None
    account_types: list[Row]


class ArrivalsAnswer(OfCut):
    """What was found, and what was judged."""

    bucket: str
    findings: list[Row]
    subjects: list[Row]


class ComparisonsAnswer(BaseModel):
    """Comparisons that were kept, the newest first."""

    comparisons: list[Row]
    next_cursor: str | None


class ComparedAnswer(BaseModel):
    """Comparisons that were just made."""

    comparisons: list[Row]


class DifferencesAnswer(BaseModel):
    """A page of what a comparison found that does not match."""

    differences: list[Row]
    next_cursor: str | None


class FlowAnswer(BaseModel):
    """A flow of the model: its accounts and events as they were declared, and a Mermaid flowchart."""

    name: str
    owner: str
    description: str
    accounts: list[Row]
    events: list[Row]
    text: str
    mermaid: str


class ModelAnswer(OfCut):
    """The model in force at the cut."""

    version: str
    flows: list[FlowAnswer]


class CheckAnswer(BaseModel):
    """What was proved of the folder's flows, and what putting them in force would mean."""

    model_config = ConfigDict(extra="allow")

    ok: bool
    version: str
    in_force: str
    problems: list[Row]
    equations: list[Row]
    changes: list[Row]
    consequences: list[Row]


class AcceptedAnswer(BaseModel):
    """The version of the model that is in force now."""

    version: str


class QuarantineAnswer(BaseModel):
    """A page of records in quarantine; `waiting` counts those that wait, by rejection code."""

    waiting: dict[str, int]
    records: list[Row]
    next_cursor: str | None


class RetriedAnswer(BaseModel):
    """What became of the records, and the numbers of those that left quarantine."""

    model_config = ConfigDict(extra="allow")

    accepted: int
    duplicates: int
    quarantined: int
    released: list[int]


class QueryAnswer(OfCut):
    """The columns and rows of a query."""

    columns: list[str]
    rows: list[list[Any]]


class SegmentsAnswer(BaseModel):
    """A page of the manifest: a row per segment."""

    segments: list[Row]
    next_cursor: str | None


class SealsAnswer(BaseModel):
    """All seals of the log."""

    seals: list[Row]


class CheckpointAnswer(BaseModel):
    """A signed checkpoint, the key to check it with, and the seal that it is of."""

    note: str
    verifier_key: str
    seal: Row


class ProofAnswer(BaseModel):
    """The proof that an event is in the log's tree."""

    format: str
    event: str
    leaf_index: int
    tree_size: int
    audit_path: list[str]
    root: str


class OwnBalancesAnswer(OfCut):
    """Per currency what is available and pending, and the account types that these are the sums of."""

    properties: dict[str, str]
    balances: list[Row]
    account_types: list[Row]


_TAG = {"ETag": {"description": "Names the answer, for If-None-Match.", "schema": {"type": "string"}}}
_PROBLEM = {
    "error": {
        "code": "cut_unreadable",
        "message": "--at: expected an instant with an offset such as '2026-01-02T03:04:05Z', found 'noon'",
        "details": [],
    }
}
_SAID = {
    304: "The caller has the answer already.",
    400: "The question cannot be meant.",
    401: "There is no key, or it is nobody's.",
    403: "The key's role may not ask this.",
    404: "There are no events yet.",
    409: "A request with this key is under way.",
    413: "The body, or the answer, is too large.",
    415: "The body is in a form that is not known.",
    422: "The request, the model or the data has problems.",
    429: "Too much is asked for at once.",
    500: "The service made a mistake.",
    503: "Try again in a moment.",
    507: "The disk is full.",
}


def responses(
    model: type[BaseModel], example: dict[str, Any], *, arrow: bool = False, of_cut: bool = True, status: int = 200
) -> dict[int | str, dict[str, Any]]:
    """The answers of a path: as it is meant, with an example, and the problems that there can be."""
    content: dict[str, Any] = {"application/json": {"example": {"cut": _CUT, **example} if of_cut else example}}
    if arrow:
        content[ARROW] = {"schema": {"type": "string", "format": "binary"}}
    answers: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": "The answer.", "content": content, "headers": _TAG if of_cut else {}}
    }
    if of_cut:
        answers[304] = {"description": _SAID[304]}
    return {**answers, **problems()}


def problems() -> dict[int | str, dict[str, Any]]:
    """The problems that any path can have."""
    return {
        code: {"model": ProblemAnswer, "description": said, "content": {"application/json": {"example": _PROBLEM}}}
        for code, said in _SAID.items()
        if code >= 400
    }
